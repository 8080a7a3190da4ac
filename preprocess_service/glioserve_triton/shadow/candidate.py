"""The candidate as the supervisor sees it: a version of the repository, and the process that answers for it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.reference_case import score_of
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.versions import load_manifest
from glioserve_triton.shadow import worker

ANSWER_TIMEOUT_S = 120.0
"""Time for one answer, and for the start of the process before the first one."""


def find_candidate(repository: Path, version: int) -> ServedVersion | None:
    """Return the version of the repository that is to be the candidate; None where it serves since its promotion.

    Raises:
        GlioserveError: GLIO-5124 where it is not there; GLIO-5103 where its manifest or graph is unfit; GLIO-5104 where
            it was trained for another preprocessing.
    """
    serving = load_serving(repository)
    folder = repository / CLASSIFIER_MODEL.name / str(version)
    if serving.version == str(version):
        return None
    if not folder.is_dir():
        raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, f"The repository has no version {version}.")
    manifest = load_manifest(folder)
    if not (folder / "model.onnx").is_file():
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"Version {version} has no model.onnx.")
    if manifest.preprocessing_digest != serving.manifest.preprocessing_digest:
        raise GlioserveError(
            ErrorCode.PREPROCESSING_MISMATCH, f"Version {version} was trained for another preprocessing."
        )
    return ServedVersion(CLASSIFIER_MODEL.name, folder.name, manifest)


class CandidateProcess:
    """The process; it is started when it is first asked, and again after a failure."""

    def __init__(self, candidate: ServedVersion, repository: Path) -> None:
        self._recipe = candidate.manifest.recipe
        self._model = repository / CLASSIFIER_MODEL.name / candidate.version / "model.onnx"
        self._process: subprocess.Popen[bytes] | None = None

    def score(self, image: npt.NDArray[np.float32]) -> float | None:
        """Return the candidate's probability of recurrence for an input [C, D, H, W]; None where it gives none."""
        process = self._process = self._process or self._start()
        too_late = threading.Timer(ANSWER_TIMEOUT_S, process.kill)  # all waiting below ends with the process
        too_late.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"shape": image.shape}).encode() + b"\n")
            process.stdin.write(np.ascontiguousarray(image, dtype="<f4").data)
            process.stdin.flush()
            logits = json.loads(process.stdout.readline())["logits"]
            return score_of([value / self._recipe.temperature for value in logits], self._recipe)
        except (OSError, ValueError, KeyError):
            self.close()
            return None
        finally:
            too_late.cancel()

    def close(self) -> None:
        """End the process; safe to call twice."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", worker.__name__, str(self._model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
