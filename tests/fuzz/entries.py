"""The ways in, each through to the network's tensor: what a mutated study is sent through.

A way in raises a coded error, answers with what the pipeline made, or with None where it ends before the pipeline.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

from fuzz.sources import MARKER
from glioserve_client import DicomStudy
from glioserve_client.deidentify import Pseudonyms, deidentify
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import Recipe
from glioserve_dicom.files.folder import StudyFiles, study_files
from glioserve_preprocess.overrides import Overrides, SeriesName
from glioserve_preprocess.pipeline import Preprocessed, preprocess_dicom

Files = Sequence[bytes]
Series = Mapping[Modality, SeriesName]


class ViolationError(Exception):
    """Something that must never happen did, though no exception of its own said so."""


def offline(files: Files | StudyFiles, recipe: Recipe, series: Series | None = None) -> Preprocessed:
    """Inside the hospital: identified files are welcome."""
    return preprocess_dicom(files, recipe, accept_identified=True, series=series, threads=1)


def server(files: Files, recipe: Recipe, series: Series | None = None) -> Preprocessed:
    """Preprocess the files as a request of any language brings them."""
    return preprocess_dicom(files, recipe, accept_identified=False, series=series, threads=1)


def folder(files: Files, recipe: Recipe, series: Series | None = None) -> Preprocessed:
    """The offline command: a folder whose file names name the patient."""
    with tempfile.TemporaryDirectory() as place:
        return offline(study_files(_written(files, Path(place))), recipe, series)


def client(files: Files, recipe: Recipe, series: Series | None = None) -> Preprocessed:
    """The Python client's bytes, de-identified, to the server."""
    return _sent(DicomStudy.from_bytes(files), recipe)


def client_folder(files: Files, recipe: Recipe, series: Series | None = None) -> Preprocessed:
    """Send them by the client from a folder."""
    with tempfile.TemporaryDirectory() as place:
        return _sent(DicomStudy.from_directory(_written(files, Path(place))), recipe)


ENTRIES: tuple[Callable[..., Preprocessed], ...] = (offline, server, folder, client, client_folder)
WEIGHTS = (0.42, 0.06, 0.06, 0.36, 0.1)


def any_entry(rng: np.random.Generator) -> Callable[..., Preprocessed]:
    """One of the ways in; those that go far most often."""
    return ENTRIES[rng.choice(len(ENTRIES), p=WEIGHTS)]


def _written(files: Files, place: Path) -> Path:
    for number, content in enumerate(files):
        sub = place / f"{MARKER} {number // 50}"
        sub.mkdir(exist_ok=True)
        (sub / f"{MARKER}_{number:05d}.dcm").write_bytes(content)
    return place


def _sent(study: DicomStudy, recipe: Recipe) -> Preprocessed:
    """Return what :func:`glioserve_client.request.encode` sends, under pseudonyms that are the same every time."""
    if MARKER in repr(study):
        raise ViolationError("the study's repr carries patient data")
    sent = [file for file in study.files if not file.reason_not_sent]
    if not sent:
        raise GlioserveError(ErrorCode.NOT_MR)
    contents = deidentify(sent, Pseudonyms(b"fuzz")).contents
    for content in contents:
        _check_nobody_in(content)
    try:
        return server(contents, recipe)
    except GlioserveError as error:
        if error.code is ErrorCode.IDENTIFIED_DICOM:
            raise ViolationError(f"the server finds a person in what the client sent: {error}") from error
        raise


def _check_nobody_in(content: bytes) -> None:
    """Pixels are sent byte for byte and may hold anything; nothing else may hold the patient."""
    marker = MARKER.encode()
    if marker not in content:
        return
    pixels = pydicom.dcmread(BytesIO(content)).get_item("PixelData")
    value = getattr(pixels, "value", None) or b""
    if content.count(marker) > (value.count(marker) if isinstance(value, bytes) else 0):
        raise ViolationError("what the client sends carries patient data")


def with_parameters(files: Files, recipe: Recipe, parameters: str | None) -> Preprocessed:
    """Hand a request's parameters on as the model server does."""
    overrides = Overrides.of_parameters(parameters)
    return offline(files, recipe, overrides.for_files())
