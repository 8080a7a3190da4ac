"""The input of one request: DICOM files, or volumes with their affines."""

from __future__ import annotations

from dataclasses import dataclass, field

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.tensors import INSTANCES, affine_tensor, volume_tensor
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_triton.adapters.backend_api import BackendUtils, Request
from glioserve_watch.digest import digest_of_files, digest_of_volumes


@dataclass(frozen=True)
class StudyInput:
    """Either files or volumes."""

    files: tuple[bytes, ...] | None = None
    volumes: dict[Modality, SequenceVolume] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of the files or of the voxels."""
        return sum(map(len, self.files or ())) + sum(v.voxels.nbytes for v in self.volumes.values())

    def digest(self) -> str:
        """Return the digest by which the study log knows the input."""
        if self.files is not None:
            return digest_of_files(self.files)
        return digest_of_volumes({m: (v.voxels, v.geometry.lps_from_voxel) for m, v in self.volumes.items()})


def read_input(pb_utils: BackendUtils, request: Request) -> StudyInput:
    """Return the input of ``request``.

    Raises:
        GlioserveError: GLIO-1101 and 1102 where it has none or both; GLIO-1105 to 1109 for a volume that is none.
    """
    tensor = pb_utils.get_input_tensor_by_name(request, INSTANCES.name)
    volumes: dict[Modality, SequenceVolume] = {}
    for modality in Modality:
        voxels = pb_utils.get_input_tensor_by_name(request, volume_tensor(modality))
        affine = pb_utils.get_input_tensor_by_name(request, affine_tensor(modality))
        if (voxels is None) != (affine is None):
            raise GlioserveError(ErrorCode.MISSING_AFFINE, f"The {modality} volume: one of the pair is missing.")
        if voxels is not None and affine is not None:
            volumes[modality] = volume_of_array(modality, voxels.as_numpy(), affine.as_numpy())
    if tensor is not None and volumes:
        raise GlioserveError(ErrorCode.BOTH_INPUTS)
    if tensor is None and not volumes:
        raise GlioserveError(ErrorCode.NO_INPUT)
    return StudyInput(None if tensor is None else tuple(tensor.as_numpy().tolist()), volumes)
