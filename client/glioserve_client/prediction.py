"""The answer, typed and frozen, and its checks: an answer that contradicts itself is an error."""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, SchemaError, from_dict, same_major, to_dict
from glioserve_contract.records.preprocess import Quality
from glioserve_contract.records.recipe import CLASSES
from glioserve_contract.records.report import ModelRecord, Report
from glioserve_contract.rounding import at_least, at_most
from glioserve_contract.tensors import HEATMAP, HEATMAP_AFFINE, LABEL, PROBABILITIES, REPORT, SCORE, Tensor

PROBABILITY_TOLERANCE = 1e-4
"""Largest difference between a tensor and the report, or a sum and 1: above FP32's rounding, below what matters."""
POSITION_TOLERANCE_MM = 1e-2
"""Largest difference between HEATMAP_AFFINE and the report's grid."""

STORED_FORMAT = "glioserve-prediction/1"
"""Format of :meth:`Prediction.to_json`."""
_NUMPY_KINDS = {"FP32": "f", "FP64": "f", "BYTES": "O"}
_Array = npt.NDArray[Any]


class Label(str, Enum):
    """The two diagnoses."""

    NECROSIS = "necrosis"
    RECURRENCE = "recurrence"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Grad-CAM of ``explained_class`` on the reference series' own grid, 0 to 1 by its maximum."""

    voxels: npt.NDArray[np.float32] = field(repr=False)
    """Values 0 to 1, [z, y, x], read-only."""
    lps_from_voxel: npt.NDArray[np.float64]
    """Affine, 4 x 4, from voxel (x, y, z) to LPS mm; read-only."""
    explained_class: str

    def __eq__(self, other: object) -> bool:
        """Return whether the other map has the same voxels at the same place for the same class."""
        if not isinstance(other, Heatmap):
            return NotImplemented
        return (
            self.explained_class == other.explained_class
            and np.array_equal(self.voxels, other.voxels)
            and np.array_equal(self.lps_from_voxel, other.lps_from_voxel)
        )

    __hash__ = None  # type: ignore[assignment]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was pickled or copied; arrays come back writable, and are not to be."""
        self.__dict__.update(state)
        _freeze(self.voxels, self.lps_from_voxel)


@dataclass(frozen=True)
class _KeptOfTheCall:
    """Fields of :class:`Prediction` that are stored beside the report, as JSON has them."""

    request_id: str
    attempts: int
    client_warnings: tuple[str, ...]
    client_timings_s: dict[str, float]
    original_series_uids: dict[str, str]


@dataclass(frozen=True)
class Prediction:
    """The server's report, the heat map, and what the client knows of the call. Not for clinical use."""

    report: Report
    """Whole answer as the server wrote it; series carry the pseudonyms that were sent."""
    heatmap: Heatmap | None
    """Heat map, or None where it was not asked for."""
    request_id: str
    attempts: int = 1
    client_warnings: tuple[str, ...] = ()
    """Notes of the client on what it left out of the study."""
    client_timings_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds of ``prepare`` (de-identify, serialise) and ``call`` (all attempts and their pauses)."""
    original_series_uids: Mapping[str, str] = field(default_factory=dict)
    """SeriesInstanceUID of the study by the pseudonym in the report; it never leaves the client."""

    @property
    def score(self) -> float:
        """Probability of recurrence, 0 to 1."""
        return self.report.score

    @property
    def label(self) -> Label | None:
        """``RECURRENCE`` iff ``score >= threshold``; None when the server abstains."""
        return Label(self.report.label) if self.report.label else None

    @property
    def abstained_because(self) -> tuple[str, ...]:
        """Reasons why there is not a label; empty where there is one."""
        return self.report.abstained_because

    @property
    def threshold(self) -> float:
        """Threshold of the recipe on ``score``."""
        return self.report.threshold

    @property
    def probabilities(self) -> Mapping[Label, float]:
        """Probabilities of both diagnoses; they sum to 1."""
        return MappingProxyType({Label(name): value for name, value in self.report.probabilities.items()})

    @property
    def model(self) -> ModelRecord:
        """Trained network that answered: name, version, digest of its weights, architecture."""
        return self.report.model

    @property
    def quality(self) -> Quality:
        """Checks of the preprocessing; ``review`` means: look at the study before you use the answer."""
        return self.report.preprocess.quality

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of the client, then of the server."""
        return (*self.client_warnings, *self.report.warnings)

    @property
    def timings_s(self) -> Mapping[str, float]:
        """Seconds per stage at the server."""
        return MappingProxyType(self.report.timings_s)

    @property
    def notice(self) -> str:
        """Notice that every output must show beside the answer."""
        return self.report.notice

    def report_json(self, indent: int | None = 2) -> str:
        """Return the report as JSON text."""
        return json.dumps(to_dict(self.report), indent=indent, ensure_ascii=False)

    def to_json(self) -> str:
        """Return the whole prediction as JSON text, the heat map included, which :meth:`from_json` reads.

        It holds the study's own SeriesInstanceUIDs (``original_series_uids``), so that it stays where the study is;
        :meth:`report_json` has pseudonyms alone.
        """
        kept = {each.name: getattr(self, each.name) for each in fields(_KeptOfTheCall)}
        return json.dumps(
            {
                "format": STORED_FORMAT,
                "report": to_dict(self.report),
                "heatmap": None if self.heatmap is None else _packed(self.heatmap.voxels),
                **{name: dict(value) if isinstance(value, Mapping) else value for name, value in kept.items()},
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Prediction:
        """Return the prediction that :meth:`to_json` wrote.

        Raises:
            ContractMismatchError: its report is of another major version.
            UnexpectedAnswerError: the text is not one, or contradicts itself.
        """
        try:
            stored = json.loads(text)
            if stored["format"] != STORED_FORMAT:
                raise ValueError("another format")
            report = _report(json.dumps(stored["report"]))
            _check_report(report)
            outputs: dict[str, _Array] = {}
            if stored["heatmap"] is not None:
                grid = report.preprocess.reference_grid
                outputs[HEATMAP.name] = _unpacked(stored["heatmap"], grid.size_voxels[::-1])
                outputs[HEATMAP_AFFINE.name] = np.array(grid.lps_from_voxel, dtype=np.float64)
            kept = {each.name: stored[each.name] for each in fields(_KeptOfTheCall)}
            call = vars(from_dict(_KeptOfTheCall, kept))
        except (json.JSONDecodeError, RecursionError, KeyError, TypeError, ValueError, zlib.error) as error:
            detail = "The text is not a stored prediction."
            raise GlioserveError(ErrorCode.UNEXPECTED_ANSWER, detail, "Give what to_json wrote.") from error
        return cls(report, _heatmap(outputs, report) if outputs else None, **call)

    def _repr_html_(self) -> str:
        """Return the answer as a table for notebooks."""
        score = {"Probability of recurrence": f"{self.score:.3f} (threshold {self.threshold:g})"}
        label = {"Label": str(self.label or "none: " + "; ".join(self.abstained_because))}
        rows = {
            **(label | score if self.label is None else score | label),  # the answer first, where there is one
            "Quality": self.quality.verdict,
            "Model": f"{self.model.name} version {self.model.version}",
        }
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items())
        return f"<table>{cells}</table><p>{html.escape(self.notice)}</p>"

    def __repr__(self) -> str:
        label = self.label or "abstained"
        return f"Prediction(score={self.score:.3f}, label={label}, model={self.model.version}, id={self.request_id})"

    @classmethod
    def from_outputs(
        cls, outputs: Mapping[str, npt.NDArray[Any]], *, heatmap: bool, request_id: str, **call: Any
    ) -> Prediction:
        """Check the ensemble's output tensors against the contract and against each other.

        Args:
            outputs: the arrays by tensor name; BYTES as object arrays of bytes.
            heatmap: True where it was asked for, and so must be there.
            request_id: the identifier of the call.
            call: the remaining fields of :class:`Prediction`.

        Raises:
            ContractMismatchError: the report is of another major version.
            UnexpectedAnswerError: a tensor is missing, malformed, or contradicts the report.
        """
        report = _report(_text(outputs, REPORT))
        _check_report(report)
        _check_tensors(outputs, report)
        return cls(report, _heatmap(outputs, report) if heatmap else None, request_id, **call)


def _freeze(*arrays: _Array) -> None:
    for array in arrays:
        array.setflags(write=False)


def _packed(voxels: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(zlib.compress(voxels.astype("<f4").tobytes(), 6)).decode("ascii")


def _unpacked(text: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    size = 4 * int(np.prod(shape))
    inflating = zlib.decompressobj()
    content = inflating.decompress(base64.b64decode(text, validate=True), size + 1)
    if len(content) != size:
        raise ValueError("the heat map does not fill its grid")
    return np.frombuffer(content, "<f4").astype(np.float32).reshape(shape)


def _report(text: str) -> Report:
    try:
        content = json.loads(text)
        version = content["contract_version"]
        if not isinstance(version, str) or not version:
            raise TypeError
    except (json.JSONDecodeError, RecursionError, KeyError, TypeError) as error:
        raise _unexpected("REPORT is not a report in JSON") from error
    if not same_major(version):
        detail = f"The server speaks contract {version[:20]}, this client {CONTRACT_VERSION}."
        raise GlioserveError(ErrorCode.CONTRACT_MISMATCH, detail)
    try:
        return from_dict(Report, content, ignore_unknown=True)
    except (SchemaError, GlioserveError) as error:
        raise _unexpected(f"REPORT does not fit its schema ({error})") from error


def _check_report(report: Report) -> None:
    if set(report.probabilities) != set(CLASSES):
        raise _unexpected("the report's probabilities are not those of the two diagnoses")
    shares = (*report.probabilities.values(), report.score, report.threshold)
    if not all(at_least(p, 0) and at_most(p, 1) for p in shares):
        raise _unexpected("the report has a probability outside 0 to 1")
    if abs(sum(report.probabilities.values()) - 1) > PROBABILITY_TOLERANCE:
        raise _unexpected("the report's probabilities do not sum to 1")
    if abs(report.probabilities[Label.RECURRENCE.value] - report.score) > PROBABILITY_TOLERANCE:
        raise _unexpected("the report's score is not the probability of recurrence")
    if bool(report.label) == bool(report.abstained_because):
        raise _unexpected("the report must have either a label or reasons to abstain")
    by_threshold = Label.RECURRENCE if report.score >= report.threshold else Label.NECROSIS
    if report.label not in ("", by_threshold.value) and abs(report.score - report.threshold) > PROBABILITY_TOLERANCE:
        raise _unexpected("the report's label is on the wrong side of its threshold")


def _check_tensors(outputs: Mapping[str, _Array], report: Report) -> None:
    score = float(_tensor(outputs, SCORE)[0])
    if not abs(score - report.score) <= PROBABILITY_TOLERANCE:  # written so that NaN fails
        raise _unexpected("SCORE is not the report's score")
    probabilities = _tensor(outputs, PROBABILITIES)
    expected = [report.probabilities[name] for name in CLASSES]
    if not (np.abs(probabilities - expected) <= PROBABILITY_TOLERANCE).all():
        raise _unexpected("PROBABILITIES are not the report's")
    if _text(outputs, LABEL) != report.label:
        raise _unexpected("LABEL is not the report's label")


def _heatmap(outputs: Mapping[str, _Array], report: Report) -> Heatmap:
    voxels, affine = _tensor(outputs, HEATMAP), _tensor(outputs, HEATMAP_AFFINE)
    if voxels.shape != report.preprocess.reference_grid.size_voxels[::-1]:
        raise _unexpected("HEATMAP does not lie on the report's reference grid")
    if not (np.isfinite(voxels).all() and at_least(float(voxels.min()), 0) and at_most(float(voxels.max()), 1)):
        raise _unexpected("HEATMAP has values outside 0 to 1")
    if not (np.abs(affine - np.array(report.preprocess.reference_grid.lps_from_voxel)) <= POSITION_TOLERANCE_MM).all():
        raise _unexpected("HEATMAP_AFFINE is not the report's reference grid")
    if report.heatmap is None:
        raise _unexpected("the report lacks the record of its heat map")
    frozen_voxels, frozen_affine = voxels.astype(np.float32), affine.astype(np.float64)
    _freeze(frozen_voxels, frozen_affine)
    return Heatmap(frozen_voxels, frozen_affine, report.heatmap.explained_class)


def _tensor(outputs: Mapping[str, _Array], tensor: Tensor) -> _Array:
    """Return an output of the contract's type and shape; GLIO-4105 for any other."""
    array = outputs.get(tensor.name)
    if array is None:
        raise _unexpected(f"{tensor.name} is missing")
    fits = len(array.shape) == len(tensor.shape) and all(
        expected in (-1, size) for expected, size in zip(tensor.shape, array.shape, strict=True)
    )
    if array.dtype.kind != _NUMPY_KINDS[tensor.dtype] or not fits or array.size == 0:
        raise _unexpected(f"{tensor.name} is {array.dtype} {array.shape}, not {tensor.dtype} {tensor.shape}")
    return array


def _text(outputs: Mapping[str, _Array], tensor: Tensor) -> str:
    value = _tensor(outputs, tensor)[0]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise _unexpected(f"{tensor.name} is not UTF-8") from error


def _unexpected(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.UNEXPECTED_ANSWER, f"The answer is malformed: {problem}.")
