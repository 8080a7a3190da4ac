"""Types of command-line arguments: each turns one word into a value, or says in a sentence what the word must be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from glioserve_contract import GlioserveError, Modality

DAY_S = 86400.0
"""Longest wait that a server or a builder is given, in seconds."""

T = TypeVar("T")
_SEQUENCES = ", ".join(Modality)


def checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """Return a type that converts by a function of another package, whose refusal becomes the argument's."""

    def of(text: str) -> T:
        try:
            return convert(text)
        except GlioserveError as error:
            raise argparse.ArgumentTypeError(error.detail) from error
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return of


def loopback(text: str) -> str:
    """Return an address of this machine's loopback."""
    try:
        if ip_address(text).is_loopback:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be an address of the loopback, as 127.0.0.1, not {text!r}")


def bearer_file(text: str) -> dict[str, str]:
    """Return the gRPC metadata that carries the token of a file."""
    try:
        token = Path(text).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise argparse.ArgumentTypeError(f"{Path(text).name}: {reason}") from error
    if not token or len(token.split()) != 1:
        raise argparse.ArgumentTypeError(f"{Path(text).name}: it must hold one token, without blanks")
    return {"authorization": f"Bearer {token}"}


def port(text: str) -> int:
    """Return a port's number; 0 lets the system choose."""
    number = _whole(text, "must be a port's number, 0 to 65535")
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port's number, 0 to 65535, not {text!r}")
    return number


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    number = _whole(text, "must be a whole number of 1 or more")
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, not {text!r}")
    return number


def seconds(*, most_s: float = math.inf, zero: bool = False) -> Callable[[str], float]:
    """Return the type of a duration in seconds: above 0 (or 0, with ``zero``), finite and at most ``most_s``."""
    at_least = "0 or more" if zero else "more than 0"
    rule = f"must be a number of seconds, {at_least}" + (f" and at most {most_s:g}" if most_s < math.inf else "")

    def duration(text: str) -> float:
        value = _number(text, rule)
        if not (value >= 0 if zero else value > 0) or not value <= most_s or math.isinf(value):
            raise argparse.ArgumentTypeError(f"{rule}, not {text!r}")
        return value

    return duration


def whole_seconds(*, most_s: float = math.inf, zero: bool = False) -> Callable[[str], int]:
    """Return the type of a duration of whole seconds; what is behind the point is cut off."""
    duration = seconds(most_s=most_s, zero=zero)
    return lambda text: int(duration(text))


def positive(text: str) -> float:
    """Return a finite number above 0."""
    value = _number(text, "must be a number above 0")
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def share(text: str) -> float:
    """Return a number above 0 and at most 1."""
    value = _number(text, "must be a number above 0 and at most 1")
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1, not {text!r}")
    return value


def share_or_none(text: str) -> float:
    """Return a number from 0 to 1."""
    value = _number(text, "must be a number from 0 to 1")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {text!r}")
    return value


def series(text: str) -> tuple[Modality, str]:
    """Return a sequence and its SeriesInstanceUID (or ``UID#part``) of ``SEQUENCE=UID``."""
    return _of_sequence(text, "UID")


def volume_file(text: str) -> tuple[Modality, Path]:
    """Return a sequence and its NIfTI file of ``NAME=FILE``."""
    modality, path = _of_sequence(text, "FILE", "NAME")
    return modality, Path(path)


def _of_sequence(text: str, value: str, key: str = "SEQUENCE") -> tuple[Modality, str]:
    name, _, rest = text.partition("=")
    if name not in {m.value for m in Modality} or not rest:
        raise argparse.ArgumentTypeError(f"must be {key}={value} with {key} one of {_SEQUENCES}, not {text!r}")
    return Modality(name), rest


def _whole(text: str, rule: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{rule}, not {text!r}") from error


def _number(text: str, rule: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{rule}, not {text!r}") from error
