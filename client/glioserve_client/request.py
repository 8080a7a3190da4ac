"""Encode a study as the tensors of one request, held to the contract's limits before a byte is sent."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client.study import DicomStudy, Study, VolumeStudy, modality_of
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.tensors import INSTANCES, SERIES_PARAMETER, affine_tensor, volume_tensor
from glioserve_dicom.pixels.parts import Part, joined, size_of
from glioserve_dicom.read import check_request_limits

_LENGTH_PREFIX = struct.Struct("<I")
"""Before each element of a BYTES tensor."""


@dataclass(frozen=True)
class Place:
    """A tensor's place in shared memory."""

    region: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Tensor:
    """One input as it is sent: its values stay where they are until the message is put together."""

    name: str
    dtype: str
    """KServe's name: FP32, FP64 or BYTES."""
    shape: tuple[int, ...]
    parts: tuple[Part, ...] = field(repr=False)
    """Raw values, little endian in C order; before each element of BYTES its length."""
    place: Place | None = None
    """Place of the values in shared memory, in which case there are no parts."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the raw values."""
        return size_of(self.parts)

    @property
    def content(self) -> bytes:
        """Raw values as one, a copy."""
        return joined(self.parts)


@dataclass(frozen=True)
class Request:
    """The tensors that are sent, and what the client must remember to understand the answer."""

    inputs: tuple[Tensor, ...]
    size_bytes: int
    warnings: tuple[str, ...] = ()
    original_series_uids: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Triton's request parameters."""

    @property
    def may_be_shared(self) -> bool:
        """True for volumes, which may go by shared memory."""
        return all(tensor.dtype != INSTANCES.dtype for tensor in self.inputs)


def _untold(name: str) -> AbstractContextManager[None]:
    return nullcontext()


def encode(
    study: Study,
    *,
    identified: bool = False,
    series: Mapping[Modality, str] | None = None,
    check: Callable[[], None] = lambda: None,
    stage: Callable[[str], AbstractContextManager[None]] = _untold,
) -> Request:
    """Return the request of a study; DICOM is de-identified unless ``identified``.

    Args:
        study: DICOM files or volumes.
        identified: send the files as they are.
        series: the SeriesInstanceUID (of the caller's own files; ``UID#part`` for one stack of it) that stands for a
            sequence. It is sent as the pseudonym that the files carry.
        check: called again and again meanwhile; what it raises ends the work.
        stage: called with ``deidentify``, whose work is done within the context that it returns.

    Raises:
        NotMrError: no file is an MR image that may be sent.
        StudyTooLargeError: the study is over the contract's limits on files or bytes.
        UnknownSeriesError: ``series`` names one that is not among the files that are sent.
        ValueError: ``series`` for volumes, which their keys name already, or a key that is not a sequence.
    """
    if series is not None and not (
        isinstance(series, Mapping) and all(isinstance(uid, str) for uid in series.values())
    ):
        raise TypeError("series must be a mapping of sequences to SeriesInstanceUIDs, as {Modality.T1: '1.2.3'}")
    if isinstance(study, DicomStudy):
        request = _encode_dicom(study, identified, check, stage)
        return replace(request, parameters=_named_series(series, request.original_series_uids)) if series else request
    if series:
        raise ValueError("series is for DICOM studies; a VolumeStudy names its sequences by its keys")
    return _encode_volumes(study)


def _named_series(series: Mapping[Modality, str], original_by_sent: Mapping[str, str]) -> dict[str, str]:
    """Return the request parameter, with the UIDs that the files carry."""
    sent_by_original = {original: sent for sent, original in original_by_sent.items()}
    named = {}
    for key, name in series.items():
        modality = modality_of(key)
        uid, hash_, part = name.partition("#")
        if uid not in sent_by_original:
            raise GlioserveError(
                ErrorCode.UNKNOWN_SERIES,
                f"The series named for {modality} is not among the {len(sent_by_original)} series that are sent.",
            )
        named[modality.value] = sent_by_original[uid] + hash_ + part
    return {SERIES_PARAMETER: json.dumps(named)}


def _encode_dicom(
    study: DicomStudy,
    identified: bool,
    check: Callable[[], None],
    stage: Callable[[str], AbstractContextManager[None]],
) -> Request:
    if not study.files:
        raise GlioserveError(ErrorCode.EMPTY_STUDY, "The study has no file.")
    sent = [file for file in study.files if not file.reason_not_sent]
    left_out = Counter(file.reason_not_sent for file in study.files if file.reason_not_sent)
    if not sent:
        found = "; ".join(f"{n} {reason}" for reason, n in left_out.most_common(5))
        raise GlioserveError(ErrorCode.NOT_MR, f"No file is an MR image that may be sent: {found}.")
    check_request_limits(len(sent), sum(len(file.whole) for file in sent))  # before the work of rebuilding them
    if identified:
        files: tuple[tuple[Part, ...], ...] = tuple((file.whole,) for file in sent)
        series = {f.series_instance_uid: f.series_instance_uid for f in sent}
    else:
        with stage("deidentify"):
            rebuilt = study.deidentified(check)
        files, series = rebuilt.files, dict(rebuilt.original_series_uids)
    parts = tuple(part for file in files for part in (_LENGTH_PREFIX.pack(size_of(file)), *file))
    tensor = Tensor(INSTANCES.name, INSTANCES.dtype, (len(files),), parts)
    check_request_limits(len(files), tensor.size_bytes)
    left_out.update(file.reason for file in study.skipped)
    warnings = tuple(f"{n} file(s) not sent: {reason}." for reason, n in sorted(left_out.items()))
    return Request((tensor,), tensor.size_bytes, warnings, series)


def _encode_volumes(study: VolumeStudy) -> Request:
    arrays: dict[str, tuple[str, npt.NDArray[np.float32 | np.float64]]] = {}
    for modality, volume in study.volumes.items():
        arrays[volume_tensor(modality)] = ("FP32", volume.voxels)
        arrays[affine_tensor(modality)] = ("FP64", volume.lps_from_voxel)
    size = sum(array.nbytes for _, array in arrays.values())
    check_request_limits(len(arrays), size)
    inputs = tuple(Tensor(name, dtype, a.shape, (_raw(a),)) for name, (dtype, a) in arrays.items())
    return Request(inputs, size)


def _raw(array: npt.NDArray[Any]) -> memoryview:
    """Return the array's values as bytes; little endian, as all of the platforms are that have wheels of grpcio."""
    return np.ascontiguousarray(array).data.cast("B")
