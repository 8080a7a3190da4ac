"""The caller's choices, parsed from request parameters: the series, or the volume, that stands for a sequence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.parameters import parse_parameters
from glioserve_contract.tensors import MODALITIES_PARAMETER, SERIES_PARAMETER, volume_tensor
from glioserve_dicom.volumes.geometry import SequenceVolume

_UID = re.compile(r"[0-9.]{1,64}")
_MOST_CHARACTERS = 4096


@dataclass(frozen=True)
class SeriesName:
    """A series by its SeriesInstanceUID as the request's files carry it, or one stack of it by its ``part`` too."""

    uid: str
    part: str = ""

    @classmethod
    def parse(cls, name: str) -> SeriesName:
        """Parse ``UID`` or ``UID#part``; raise GLIO-1305 for anything else."""
        uid, _, part = name.partition("#")
        if _UID.fullmatch(uid) is None or len(part) > 64:
            raise GlioserveError(ErrorCode.INVALID_OVERRIDE, "Name a series by its SeriesInstanceUID or UID#part.")
        return cls(uid, part.strip())


@dataclass(frozen=True)
class Overrides:
    """The caller's choices; empty by default."""

    series: Mapping[Modality, SeriesName] = field(default_factory=dict)
    modalities: Mapping[Modality, Modality] = field(default_factory=dict)
    """Sequence (value) of the volume that came under another sequence's tensors (key)."""

    @classmethod
    def of_parameters(cls, parameters: str | None) -> Overrides:
        """Parse a Triton request's parameters, a JSON object as ``request.parameters()`` has it.

        Raises:
            GlioserveError: GLIO-1110 for parameters that the contract does not have, GLIO-1305 for a choice that cannot
                be read.
        """
        given = parse_parameters(parameters)
        series = _object(given.get(SERIES_PARAMETER, "{}"), SERIES_PARAMETER)
        modalities = _object(given.get(MODALITIES_PARAMETER, "{}"), MODALITIES_PARAMETER)
        tensors = {volume_tensor(m): m for m in Modality}
        unknown = sorted(set(modalities) - set(tensors))
        if unknown:
            raise GlioserveError(
                ErrorCode.INVALID_OVERRIDE,
                f"{MODALITIES_PARAMETER}: {len(unknown)} keys do not name a volume tensor.",
            )
        return cls(
            {_modality(k, SERIES_PARAMETER): SeriesName.parse(_text(v)) for k, v in series.items()},
            {tensors[k]: _modality(v, MODALITIES_PARAMETER) for k, v in modalities.items()},
        )

    def for_files(self) -> Mapping[Modality, SeriesName]:
        """Return the series that are named for a DICOM study; raise GLIO-1305 for choices that are for volumes."""
        if self.modalities:
            raise GlioserveError(
                ErrorCode.INVALID_OVERRIDE, f"{MODALITIES_PARAMETER} is for volumes; of DICOM files, name the series."
            )
        return self.series

    def renamed(self, volumes: Mapping[Modality, SequenceVolume]) -> dict[Modality, SequenceVolume]:
        """Return ``volumes``, which are by tensor, by sequence.

        Raises:
            GlioserveError: GLIO-1305 where two volumes are of one sequence, a named one was not sent, or series are
                named, which volumes do not have.
        """
        if self.series:
            raise GlioserveError(
                ErrorCode.INVALID_OVERRIDE, f"{SERIES_PARAMETER} is for DICOM files; of volumes, name the modalities."
            )
        missing = [volume_tensor(m) for m in self.modalities if m not in volumes]
        if missing:
            raise GlioserveError(
                ErrorCode.INVALID_OVERRIDE, f"{MODALITIES_PARAMETER} names volumes that were not sent: {missing}."
            )
        named: dict[Modality, SequenceVolume] = {}
        for tensor, volume in volumes.items():
            modality = self.modalities.get(tensor, tensor)
            if modality in named:
                raise GlioserveError(ErrorCode.INVALID_OVERRIDE, f"Two volumes are named as {modality}.")
            named[modality] = replace(volume, modality=modality)
        return named


def _object(value: str, name: str) -> dict[str, Any]:
    """Return a JSON object that is given as text; raise GLIO-1305 for anything else and for a key that is repeated."""
    try:
        found = json.loads(value, object_pairs_hook=_once) if len(value) <= _MOST_CHARACTERS else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GlioserveError(
            ErrorCode.INVALID_OVERRIDE,
            f"{name} must be a JSON object of at most {_MOST_CHARACTERS} characters, each key once.",
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _modality(value: object, name: str) -> Modality:
    try:
        return Modality(value)
    except ValueError:
        known = ", ".join(Modality)
        raise GlioserveError(ErrorCode.INVALID_OVERRIDE, f"{name}: a sequence must be one of {known}.") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise GlioserveError(ErrorCode.INVALID_OVERRIDE, f"{SERIES_PARAMETER}: a series must be named by a text.")
    return value
