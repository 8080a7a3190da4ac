"""Encode a study as the tensors of one request, held to the contract's limits before a byte is sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput

from glioserve_client.deidentify import deidentify
from glioserve_client.study import DicomStudy, Study, VolumeStudy
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.tensors import INSTANCES, SERIES_PARAMETER, affine_tensor, volume_tensor
from glioserve_dicom.read import check_request_limits

_LENGTH_PREFIX_BYTES = 4
"""Length of the prefix of each element of a BYTES tensor."""


@dataclass(frozen=True)
class Request:
    """The tensors that are sent, and what the client must remember to understand the answer."""

    inputs: tuple[InferInput, ...] = field(repr=False)
    """tritonclient's InferInput, one per tensor."""
    size_bytes: int
    warnings: tuple[str, ...] = ()
    original_series_uids: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Triton's request parameters."""


def encode(study: Study, *, identified: bool = False, series: Mapping[Modality, str] | None = None) -> Request:
    """Return the request of a study; DICOM is de-identified unless ``identified``.

    Args:
        study: DICOM files or volumes.
        identified: send the files as they are.
        series: the SeriesInstanceUID (of the caller's own files; ``UID#part`` for one stack of it) that stands for a
            sequence. It is sent as the pseudonym that the files carry.

    Raises:
        NotMrError: no file is an MR image that may be sent.
        StudyTooLargeError: the study is over the contract's limits on files or bytes.
        UnknownSeriesError: ``series`` names one that is not among the files that are sent.
        ValueError: ``series`` for volumes, which their keys name already, or a key that is not a sequence.
    """
    if isinstance(study, DicomStudy):
        request = _encode_dicom(study, identified)
        return replace(request, parameters=_named_series(series, request.original_series_uids)) if series else request
    if series:
        raise ValueError("series is for DICOM studies; a VolumeStudy names its sequences by its keys")
    return _encode_volumes(study)


def _named_series(series: Mapping[Modality, str], original_by_sent: Mapping[str, str]) -> dict[str, str]:
    """Return the request parameter, with the UIDs that the files carry."""
    sent_by_original = {original: sent for sent, original in original_by_sent.items()}
    named = {}
    for key, name in series.items():
        modality = Modality(key)
        uid, hash_, part = name.partition("#")
        if uid not in sent_by_original:
            raise GlioserveError(
                ErrorCode.UNKNOWN_SERIES,
                f"The series named for {modality} is not among the {len(sent_by_original)} series that are sent.",
            )
        named[modality.value] = sent_by_original[uid] + hash_ + part
    return {SERIES_PARAMETER: json.dumps(named)}


def _encode_dicom(study: DicomStudy, identified: bool) -> Request:
    sent = [file for file in study.files if not file.reason_not_sent]
    left_out = Counter(file.reason_not_sent for file in study.files if file.reason_not_sent)
    if not sent:
        found = "; ".join(f"{n} {reason}" for reason, n in left_out.most_common(5))
        raise GlioserveError(ErrorCode.NOT_MR, f"No file is an MR image that may be sent: {found}.")
    check_request_limits(len(sent), sum(len(file.content) for file in sent))  # before the work of rebuilding them
    if identified:
        contents, series = tuple(f.content for f in sent), {f.series_instance_uid: f.series_instance_uid for f in sent}
    else:
        rebuilt = deidentify(sent)
        contents, series = rebuilt.contents, dict(rebuilt.original_series_uids)
    size = sum(len(content) + _LENGTH_PREFIX_BYTES for content in contents)
    check_request_limits(len(contents), size)
    tensor = InferInput(INSTANCES.name, [len(contents)], INSTANCES.dtype)
    tensor.set_data_from_numpy(np.array(contents, dtype=np.object_))
    left_out.update(file.reason for file in study.skipped)
    warnings = tuple(f"{n} file(s) not sent: {reason}." for reason, n in sorted(left_out.items()))
    return Request((tensor,), size, warnings, series)


def _encode_volumes(study: VolumeStudy) -> Request:
    arrays: dict[str, tuple[str, npt.NDArray[np.float32 | np.float64]]] = {}
    for modality, volume in study.volumes.items():
        arrays[volume_tensor(modality)] = ("FP32", volume.voxels)
        arrays[affine_tensor(modality)] = ("FP64", volume.lps_from_voxel)
    size = sum(array.nbytes for _, array in arrays.values())
    check_request_limits(len(arrays), size)
    inputs = []
    for name, (dtype, array) in arrays.items():
        inputs.append(InferInput(name, list(array.shape), dtype))
        inputs[-1].set_data_from_numpy(array)
    return Request(tuple(inputs), size)
