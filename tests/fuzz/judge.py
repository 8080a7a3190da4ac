"""Judge what must hold of every case, whatever goes in: a sound answer or an error with a code, and no name."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fuzz.cases import Case
from fuzz.sources import MARKER
from glioserve_contract import GlioserveError, from_dict, to_dict
from glioserve_contract.limits import MAX_SPACING_MM, MIN_SPACING_MM
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_dicom.volumes.geometry import Geometry, apply, geometry_of_record
from glioserve_preprocess.pipeline import Preprocessed
from glioserve_preprocess.tensor.provenance import image_digest, replay


@dataclass(frozen=True)
class Verdict:
    """Verdict on one case."""

    mutation: str
    said: str
    outcome: str
    """``answered``, ``refused`` or ``failed``."""
    detail: str
    """The code's token, or what is wrong."""
    seconds: float
    peak_mib: int
    """Peak memory of the whole process, from the case's start on."""


def judged(case: Case) -> Verdict:
    """Runs the case here. A crash, a hang or a death by memory is for the process above to see."""
    _forget_peak()
    start = time.perf_counter()
    with _listening() as heard:
        outcome, detail, message = _outcome(case)
    seconds = time.perf_counter() - start
    said_aloud = "\n".join([message, *heard])
    if MARKER.lower() in said_aloud.lower():
        outcome, detail = "failed", f"a message names the patient: {said_aloud}"
    elif heard:
        outcome, detail = "failed", f"a warning or a log line came out: {heard[0]}"
    return Verdict(case.mutation, case.said, outcome, detail[:4000], seconds, _peak_mib())


def as_json(verdict: Verdict) -> str:
    """One line."""
    return json.dumps(asdict(verdict))


def _outcome(case: Case) -> tuple[str, str, str]:
    """Outcome, detail, and what a caller would see of it in words."""
    try:
        result = case.run()
    except GlioserveError as error:
        return "refused", error.code.token, f"{error} {error!r}"
    except Exception:
        return "failed", traceback.format_exc(limit=-12), ""
    try:
        return "answered", "", "" if result is None else _check(result)
    except Exception:
        return "failed", f"an answer that is none: {traceback.format_exc(limit=-4)}", ""


def _check(result: Preprocessed) -> str:
    """Raises AssertionError where the answer is not sound; else every text in it but for UIDs."""
    record, image = result.record, result.image
    network = geometry_of_record(record.network_grid)
    assert image.shape == (len(record.series), *network.shape), image.shape
    assert image.dtype == np.float32
    assert np.isfinite(image).all(), "not finite"
    assert 0 <= image.min() <= image.max() <= 1, "not within 0 and 1"
    assert result.brain_mask.shape == network.shape
    assert set(np.unique(result.brain_mask)) == {0, 1}, "an empty or a full mask"
    assert not image[:, result.brain_mask == 0].any(), "something outside the brain"
    plain = json.loads(json.dumps(to_dict(record), allow_nan=False))
    assert from_dict(PreprocessRecord, plain) == record, "the record does not survive JSON"
    reference = geometry_of_record(record.reference_grid)
    for geometry in (reference, network, *(v.geometry for v in result.volumes.values())):
        spacing = np.array(geometry.spacing_mm)
        assert (spacing >= 0.99 * MIN_SPACING_MM).all()
        assert (spacing <= 1.01 * MAX_SPACING_MM).all(), spacing
        there_and_back = geometry.voxel_from_lps @ geometry.lps_from_voxel
        np.testing.assert_allclose(there_and_back, np.eye(4), atol=1e-6)
    canonical = result.volumes[record.reference].geometry
    assert sorted(canonical.size_voxels) == sorted(reference.size_voxels)
    corners = [_centre_of(g) for g in (canonical, reference)]
    np.testing.assert_allclose(corners[0], corners[1], atol=1e-3)
    assert result.native_mask.shape == canonical.shape
    for registration in record.registrations:
        matrix = np.array(registration.moving_lps_from_reference_lps)
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-6)
        assert np.linalg.det(matrix[:3, :3]) > 0, "a mirrored head"
    brain = np.argwhere(result.native_mask)[:, ::-1].mean(axis=0, keepdims=True)
    middle = apply(network.voxel_from_lps, apply(canonical.lps_from_voxel, brain))[0]
    assert (np.abs(middle - (np.array(network.size_voxels) - 1) / 2) < 1.5).all(), "the grid is not about the brain"
    assert record.provenance is not None
    again = image_digest(replay(record, result.volumes, result.native_mask))
    assert again == record.provenance.image_sha256, "replay gives another input"
    return json.dumps(_without_uids(plain), ensure_ascii=False)


def _centre_of(geometry: Geometry) -> npt.NDArray[np.float64]:
    size = np.array(geometry.size_voxels, dtype=np.float64)
    return np.asarray(apply(geometry.lps_from_voxel, (size[np.newaxis] - 1) / 2)[0])


def _without_uids(value: object) -> object:
    """The caller's own SeriesInstanceUIDs are answered as they came."""
    if isinstance(value, dict):
        return {k: _without_uids(v) for k, v in value.items() if k != "series_instance_uid"}
    return [_without_uids(v) for v in value] if isinstance(value, list) else value


class _Keeper(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.INFO)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Everything that is warned, logged or written to the standard streams, C libraries included."""
    heard: list[str] = []
    keeper, root = _Keeper(heard), logging.getLogger()
    root.addHandler(keeper)
    before = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as streams, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        os.dup2(streams.fileno(), 1)
        os.dup2(streams.fileno(), 2)
        try:
            yield heard
        finally:
            for number, old in enumerate(before, 1):
                os.dup2(old, number)
                os.close(old)
            root.removeHandler(keeper)
            heard += [f"{w.category.__name__}: {w.message} ({Path(w.filename).name}:{w.lineno})" for w in warned]
            streams.seek(0)
            heard += [line for line in streams.read(100_000).decode("utf-8", "replace").splitlines() if line.strip()]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10
