"""Read a NIfTI file as voxels [z, y, x] and their affine to LPS mm, or give the reason why it is not used.

NIfTI-1 and -2, ``.nii``, ``.nii.gz`` or ``.hdr``/``.img``; any real type, scaled as the header says; units of metres,
millimetres (also where none is given) or microns. Where voxels lie is never guessed:

- Neither sform nor qform set: refused.
- Both set: the sform is used, as NIfTI viewers do, if both agree on which way each voxel axis points (left, posterior,
  superior) and on the voxels' size. They may differ in position and by a few degrees: sequences are registered by
  their voxels, never by their headers. Else one of the two is wrong and left may be right: refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_VOLUME_VOXELS
from glioserve_dicom.files.quiet import quiet

if TYPE_CHECKING:
    import nibabel

MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_SUFFIXES = re.compile(r"\.(nii|hdr|img)(\.gz|\.bz2)?$", re.IGNORECASE)
MAX_SPACING_DIFFERENCE = 0.01
"""Largest share by which sform and qform may differ: an sform that stretches the head is of a template's space."""
_UNREADABLE = "The file cannot be read as NIfTI."


def read_nifti(path: Path) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Return voxels [z, y, x] in the file's scaled type and ``lps_from_voxel`` 4 x 4, voxel (x, y, z) to LPS mm.

    Neither messages nor the errors behind them quote the path, which may carry a patient's name.

    Raises:
        StudyTooLargeError: GLIO-1104 over the limit on voxels.
        InvalidVolumeError: GLIO-1106 for what is not a regular file, not NIfTI, cut or damaged.
        InvalidAffineError: GLIO-1107 where the file does not state for certain which way is left.
        UnsupportedVoxelsError: GLIO-1108 for complex numbers, colours or several volumes.
    """
    import nibabel

    if not _SUFFIXES.search(path.name):  # nibabel would try readers of other formats, which leave the file open
        raise GlioserveError(ErrorCode.INVALID_VOLUME, "The file is not NIfTI by its name.")
    if not path.is_file():  # a pipe would block for ever
        raise GlioserveError(ErrorCode.INVALID_VOLUME, "There is no such file, or it is not a regular file.")
    try:
        with quiet("nibabel"):
            image: Any = nibabel.load(path)
    except Exception:  # noqa: BLE001 - nibabel and zlib raise many kinds, which quote the path
        raise GlioserveError(ErrorCode.INVALID_VOLUME, _UNREADABLE) from None
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti1Pair)):
        raise GlioserveError(ErrorCode.INVALID_VOLUME, "The file is not NIfTI.")
    count = int(np.prod(image.shape, dtype=np.float64))
    if count > MAX_VOLUME_VOXELS:  # before they cost memory
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"It has {count} voxels, over {MAX_VOLUME_VOXELS}.")
    stored = image.get_data_dtype()
    if stored.fields is not None or stored.kind not in "iuf":
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, f"Its voxels are of type {_name(stored)}.")
    lps_from_voxel = _lps_from_voxel(image.header)
    try:
        voxels = np.asarray(image.dataobj)
    except Exception:  # noqa: BLE001 - likewise
        raise GlioserveError(ErrorCode.INVALID_VOLUME, "The file ends early or cannot be decompressed.") from None
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim > 3:
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, f"It holds several volumes: its shape is {image.shape}.")
    return voxels.transpose(), lps_from_voxel


def _name(dtype: np.dtype[np.generic]) -> str:
    return "colour" if dtype.fields is not None else dtype.name


def _lps_from_voxel(header: nibabel.Nifti1Header) -> npt.NDArray[np.float64]:
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
        mm_per_unit = MM_PER_UNIT[header.get_xyzt_units()[0]]
    except Exception:  # noqa: BLE001 - a broken quaternion, an unknown unit
        raise GlioserveError(ErrorCode.INVALID_AFFINE, "Its qform or its unit of length is not valid.") from None
    if sform is not None and qform is not None:
        _check_agreement(sform, qform)
    used = qform if sform is None else sform
    if used is None:
        raise GlioserveError(
            ErrorCode.INVALID_AFFINE, "Neither sform nor qform is set: which way is left is not known."
        )
    lps_from_voxel = np.array(used, dtype=np.float64)
    lps_from_voxel[:3] *= mm_per_unit
    lps_from_voxel[:2] *= -1  # NIfTI's world is RAS
    return lps_from_voxel


def _check_agreement(sform: npt.NDArray[np.float64], qform: npt.NDArray[np.float64]) -> None:
    from nibabel.orientations import io_orientation

    sizes = np.array([np.linalg.norm(form[:3, :3], axis=0) for form in (sform, qform)])
    if not np.isfinite(sizes).all() or not sizes.all():
        raise GlioserveError(ErrorCode.INVALID_AFFINE, "Its sform or qform is not an invertible map.")
    if not np.array_equal(io_orientation(sform), io_orientation(qform)):
        raise GlioserveError(ErrorCode.INVALID_AFFINE, "Its sform and qform disagree on which way its axes point.")
    if (np.abs(sizes[0] / sizes[1] - 1) > MAX_SPACING_DIFFERENCE).any():
        raise GlioserveError(
            ErrorCode.INVALID_AFFINE,
            f"Its voxels measure {np.round(sizes[0], 3).tolist()} by its sform, "
            f"{np.round(sizes[1], 3).tolist()} by its qform.",
        )
