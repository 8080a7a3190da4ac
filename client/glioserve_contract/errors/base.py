"""The base of every error, and the families that its codes fall into.

``GlioserveError(ErrorCode.X)`` makes an instance of the class that belongs to X (:mod:`.classes`) wherever it is
raised. The families are declared here, once; ``docs/errors.md`` draws the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from glioserve_contract.errors.messages import compose
from glioserve_contract.errors.row import Retry
from glioserve_contract.errors.table import ErrorCode

if TYPE_CHECKING:
    from pathlib import Path

E = TypeVar("E", bound="GlioserveError")
_LEAVES: dict[ErrorCode, type[GlioserveError]] = {}
_FAMILIES: dict[str, type[GlioserveError]] = {}


class GlioserveError(Exception):
    """Base of every error that leaves our code.

    Args:
        code: the code; it decides the class of the instance.
        detail: what was found, by default the table's summary; never patient data, pixel values or a server's paths.
        action: what to do, by default the table's action; a server's own where its table differs from this one's,
            empty where ``detail`` has it already.
        token: a later server's token that this table lacks; the instance is then of the token's family, and ``code``
            is the one that the gRPC status stands for.
    """

    code: ErrorCode
    detail: str
    action: str
    token: str
    request_id: str = ""
    """Identifier of the call that failed, for the server's log; empty when nothing was sent."""
    attempts: int = 0
    """Number of times that the request was sent."""
    path: Path | None = None
    """Local file at fault. It is not in the message, since a path may carry a patient's name."""

    def __init_subclass__(cls, digits: str | None = None) -> None:
        """Note a family by the digits with which the tokens of its codes begin."""
        super().__init_subclass__()
        if digits is not None:
            _FAMILIES[digits] = cls

    def __new__(cls: type[E], code: ErrorCode, detail: str = "", action: str | None = None, token: str = "") -> E:
        """Make an instance of the code's own class; TypeError where that class is not a ``cls``."""
        named = class_of(code) if token in ("", code.token) else family_of(token)
        if issubclass(cls, named):
            return super().__new__(cls)
        if not issubclass(named, cls):
            raise TypeError(f"{code.name} belongs to {named.__name__}, which is not a {cls.__name__}")
        return super().__new__(named)

    def __init__(self, code: ErrorCode, detail: str = "", action: str | None = None, token: str = "") -> None:
        self.code = code
        self.detail = detail or code.row.summary
        self.action = code.row.action if action is None else action
        self.token = token or code.token
        super().__init__(compose(self.token, self.detail, self.action))

    def __reduce__(self) -> tuple[type[GlioserveError], tuple[ErrorCode, str, str, str], dict[str, object]]:
        return type(self), (self.code, self.detail, self.action, self.token), self.__dict__

    @property
    def retryable(self) -> bool:
        """True where the same request or command, sent or run again, may succeed."""
        return self.code.row.retry is Retry.YES


_FAMILIES[""] = GlioserveError


def class_of(code: ErrorCode) -> type[GlioserveError]:
    """Return the code's own class, made at the first call: named as the code is, in the family of its token."""
    if code not in _LEAVES:
        name = "".join(word.capitalize() for word in code.name.split("_")) + "Error"
        doc = f"{code.token}: {code.row.summary} {code.row.action}"
        module = f"{__package__}.classes"  # where pickle finds it
        _LEAVES[code] = type(name, (family_of(code.token),), {"__doc__": doc, "__module__": module})
    return _LEAVES[code]


def family_of(token: str) -> type[GlioserveError]:
    """Return the narrowest family of a token, whether the table has it or not."""
    digits = token.removeprefix("GLIO-")
    return _FAMILIES[max((start for start in _FAMILIES if digits.startswith(start)), key=len)]


def families() -> dict[str, type[GlioserveError]]:
    """Return the families, and the base, by the digits with which their tokens begin; a family after its parent."""
    return dict(sorted(_FAMILIES.items()))


class StudyError(GlioserveError, digits="1"):
    """The study, or the request that carries it, cannot be used as it is."""


class RequestError(StudyError, digits="11"):
    """The request is empty, contradicts itself, is over a limit or has an unusable volume."""


class DicomFileError(StudyError, digits="12"):
    """A file cannot be used."""


class SeriesError(StudyError, digits="13"):
    """A sequence is missing, ambiguous or too short."""


class SliceGeometryError(StudyError, digits="14"):
    """A series' slices do not form one regular stack."""


class RegistrationError(StudyError, digits="15"):
    """The sequences could not be aligned."""


class BrainError(StudyError, digits="16"):
    """No brain was found."""


class IntensityError(StudyError, digits="17"):
    """A sequence's intensities cannot be used."""


class ModelAnswerError(GlioserveError, digits="2"):
    """The model's answer cannot be used."""


class ServerError(GlioserveError, digits="3"):
    """The server failed or gave up."""


class TransportError(GlioserveError, digits="4"):
    """The call failed between client and server."""


class PacsError(TransportError, digits="42"):
    """A study or a result did not pass between `glioserve pacs` and a PACS."""


class SetUpError(GlioserveError, digits="5"):
    """A recipe, artifact, repository, evaluation or server cannot be used; raised by the operator's tools."""
