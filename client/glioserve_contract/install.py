"""Advice on how to install glioserve, for the messages that ask for one of its extras."""

from __future__ import annotations

REINSTALL = "--force-reinstall --no-deps "
"""Options of pip that install glioserve again and leave its dependencies as they are."""


def client_advice(extra: str) -> str:
    """Return the commands that install glioserve-client alone with this extra of ``client/pyproject.toml``."""
    return _advice(f"'./client[{extra}]'", f"'glioserve-client[{extra}]'", "")


def install_advice(*extras: str, options: str = "") -> str:
    """Return the commands that install glioserve with these extras: from a checkout, and from a package index.

    Args:
        extras: Names of extras in ``pyproject.toml``; none for the package alone.
        options: Options of pip, with a space after them.
    """
    suffix = f"[{','.join(extras)}]"
    return _advice(*((f"'.{suffix}'", f"'glioserve{suffix}'") if extras else (".", "glioserve")), options)


def _advice(checkout: str, package: str, options: str) -> str:
    return (
        f"pip install {options}{checkout} in a checkout of glioserve, "
        f"or pip install {options}{package} where a package index has it"
    )
