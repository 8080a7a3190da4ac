"""A folder of DICOM files as the place of studies, another as that of results: how routers such as mercure call."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.attributes import text
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.files.replacing import replacing
from glioserve_pacs.archives import FoundStudy, Image, Keep, Query


class FolderSource:
    """Every DICOM file below a folder; files of other kinds are left alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, query: Query) -> list[FoundStudy]:
        """Return the studies in the folder; of the query's conditions, dates are not asked."""
        found: dict[str, int] = {}
        for study, accession_number, _, _ in self._images():
            if query.study_instance_uid in ("", study) and query.accession_number in ("", accession_number):
                found[study] = found.get(study, 0) + 1
        return [FoundStudy(study, count) for study, count in found.items()]

    def images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the study's MR images."""
        return frozenset(image for study, _, image, _ in self._images() if study == study_instance_uid)

    def fetch(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> None:
        """Read the files."""
        for study, _, image, content in self._images():
            if study == study_instance_uid and image in images:
                keep(image, content)

    def _images(self) -> list[tuple[str, str, Image, bytes]]:
        """Return StudyInstanceUID, AccessionNumber, UIDs and content of each MR image."""
        if not self._folder.is_dir():
            raise GlioserveError(ErrorCode.PACS_UNREACHABLE, "The folder of studies is not there.")
        found = []
        with quiet("pydicom"):
            for file in study_files(self._folder).files:
                instance = file.instance()
                if instance.is_mr:
                    header = instance.dataset
                    image = Image(text(header, "SeriesInstanceUID"), text(header, "SOPInstanceUID"))
                    found.append(
                        (text(header, "StudyInstanceUID"), text(header, "AccessionNumber"), image, file.content)
                    )
        return found


class FolderDestination:
    """A folder that results are copied into, each under its SOPInstanceUID."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def missing(self, study_instance_uid: str, sop_instance_uids: Collection[str]) -> set[str]:
        """Return the UIDs of which the folder has no file."""
        return {uid for uid in sop_instance_uids if not (self._folder / f"{uid}.dcm").is_file()}

    def store(self, files: Sequence[Path]) -> tuple[str, ...]:
        """Copy the files; each is whole or not there."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                with replacing(self._folder / file.name) as beside:
                    shutil.copyfile(file, beside)
        except OSError as error:
            detail = f"The folder of results cannot be written: {error.strerror or type(error).__name__}."
            raise GlioserveError(ErrorCode.PACS_UNREACHABLE, detail) from error
        return ()
