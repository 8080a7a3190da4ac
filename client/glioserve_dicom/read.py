"""Read a study's files as DICOM instances: parsed, complete, of one patient and one study, free of identity if asked.

Headers only: the pixels of a series are decoded when it was chosen (:mod:`glioserve_dicom.slices.assemble`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.dataset import FileDataset

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES, MAX_REQUEST_BYTES
from glioserve_dicom.files.attributes import text
from glioserve_dicom.files.folder import StudyFiles, given_files
from glioserve_dicom.files.part10 import Instance, object_name
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.identified import refuse_identified


@dataclass(frozen=True, eq=False)
class Instances:
    """The MR images of one study, in the order they came, and what was left aside."""

    instances: tuple[Instance, ...]
    warnings: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[FileDataset, ...]:
        """Headers of the instances."""
        return tuple(i.dataset for i in self.instances)


def read(files: Sequence[bytes] | StudyFiles, *, accept_identified: bool) -> Instances:
    """Parse a study's DICOM files.

    Messages count files from 1, in their order; they never carry a value of an attribute.

    Args:
        files: a request's files or zip archives of them, or what :func:`glioserve_dicom.files.folder.study_files`
            read from a disk.
        accept_identified: take files in which a person can be recognised (an offline run inside the hospital).

    Returns:
        The MR images, in the order of the files, with a warning about the others.

    Raises:
        GlioserveError: GLIO-1103, -1104, -1201 to -1207, -1212 and -1214.
    """
    if not isinstance(files, StudyFiles):  # a request holds the contract's limits before it is looked into
        check_request_limits(len(files), sum(map(len, files)))
        files = given_files(files, MAX_INSTANCES, MAX_REQUEST_BYTES)
    with quiet("pydicom"):
        parsed = [file.instance() for file in files.files]
        images = [(file, i) for file, i in zip(files.files, parsed, strict=True) if i.is_mr]
        check_request_limits(len(images), sum(len(file.content) for file, _ in images))
        datasets = [i.dataset for i in parsed]
        if not accept_identified:
            refuse_identified(parsed)
        _refuse_several(datasets, "PatientID", ErrorCode.MULTIPLE_PATIENTS)
        _refuse_several(datasets, "StudyInstanceUID", ErrorCode.MULTIPLE_STUDIES)
        others = Counter(object_name(i.sop_class_uid) for i in parsed if not i.is_mr)
    others.update(skipped.reason for skipped in files.skipped)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
    if not images:
        raise GlioserveError(ErrorCode.NOT_MR, f"No MR images among {len(parsed)} DICOM files: {listed}.")
    return Instances(tuple(i for _, i in images), (f"Left aside: {listed}.",) if others else ())


def check_request_limits(files: int, size_bytes: int) -> None:
    """Raise GLIO-1104 for more files or bytes than one request may hold."""
    if files > MAX_INSTANCES or size_bytes > MAX_REQUEST_BYTES:
        limits = f"at most {MAX_INSTANCES} of {MAX_REQUEST_BYTES >> 20} MiB"
        detail = f"{files} files or tensors of {size_bytes >> 20} MiB; {limits} may be sent."
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, detail)


def _refuse_several(datasets: Iterable[FileDataset], keyword: str, code: ErrorCode) -> None:
    values = Counter(value for d in datasets if (value := text(d, keyword)))
    if len(values) > 1:
        detail = f"The files carry {len(values)} different values of {keyword}."
        if len(values) == values.total() > 2:
            detail = f"Each of {len(values)} files carries a {keyword} of its own; an anonymiser must keep one a study."
        raise GlioserveError(code, detail)
