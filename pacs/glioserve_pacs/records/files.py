"""Files on their way: images that were fetched or sent, and results that are not stored yet.

Folders and files have pseudonyms for names. Each file is whole or not there: it is written beside its place
and renamed, and what cannot be fetched again is synced before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from pydicom.dataset import Dataset

from glioserve_dicom.files.replacing import replacing
from glioserve_pacs.archives import Image

_UNFINISHED = ".unfinished"


class Files:
    """The folders ``images`` and ``results`` of a state folder."""

    def __init__(self, folder: Path, subject: Callable[[str], str]) -> None:
        """Make the folders, for this user alone.

        Args:
            folder: the state folder.
            subject: the pseudonym of a UID.
        """
        self._images, self._results, self._subject = folder / "images", folder / "results", subject
        for made in (self._images, self._results):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)

    def images_of(self, study_instance_uid: str) -> Path:
        """Return the folder of a study's images."""
        return self._images / self._subject(study_instance_uid)

    def add_image(self, study_instance_uid: str, image: Image, content: bytes, *, durable: bool = False) -> None:
        """Write one image; with ``durable`` it outlives a loss of power when this returns."""
        file = self._file(study_instance_uid, image)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        _write(file, content, durable=durable)

    def missing(self, study_instance_uid: str, images: Collection[Image]) -> list[Image]:
        """Return the images that are not on the disk."""
        return [image for image in images if not self._file(study_instance_uid, image).is_file()]

    def keep_only(self, study_instance_uid: str, images: Collection[Image]) -> None:
        """Remove files that are not of these images: the PACS has them no more."""
        wanted = {self._file(study_instance_uid, image) for image in images}
        for file in self._listed(self.images_of(study_instance_uid)):
            if file not in wanted:
                file.unlink()

    def drop_images(self, study_instance_uid: str) -> None:
        """Remove a study's images."""
        shutil.rmtree(self.images_of(study_instance_uid), ignore_errors=True)

    def put_results(self, study_instance_uid: str, datasets: Iterable[Dataset], texts: Mapping[str, str]) -> None:
        """Write the results of an answer, all or none: each dataset as ``<SOPInstanceUID>.dcm``, and texts by name."""
        folder = self._results / self._subject(study_instance_uid)
        unfinished = folder.with_suffix(_UNFINISHED)
        for old in (unfinished, folder):
            shutil.rmtree(old, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        for dataset in datasets:
            file = unfinished / f"{dataset.SOPInstanceUID}.dcm"
            dataset.save_as(file, enforce_file_format=True)
            _sync(file)
        for name, text in texts.items():
            _write(unfinished / name, text.encode(), durable=True)
        _sync(unfinished)
        unfinished.rename(folder)
        _sync(self._results)

    def results_of(self, study_instance_uid: str) -> list[Path]:
        """Return the files of a study's results; none where they are lost."""
        return list(self._listed(self._results / self._subject(study_instance_uid)))

    def drop_results(self, study_instance_uid: str) -> None:
        """Remove the results of a study, which are stored."""
        shutil.rmtree(self._results / self._subject(study_instance_uid), ignore_errors=True)

    def drop_all_but(self, images_of: Collection[str], results_of: Collection[str]) -> None:
        """Remove what a kill left behind: the files of all studies but these."""
        for folder, studies in ((self._images, images_of), (self._results, results_of)):
            kept = {self._subject(uid) for uid in studies}
            for left in self._listed(folder):
                if left.name not in kept:
                    shutil.rmtree(left, ignore_errors=True)

    def _file(self, study_instance_uid: str, image: Image) -> Path:
        return self.images_of(study_instance_uid) / f"{self._subject(image.sop_instance_uid)}.dcm"

    @staticmethod
    def _listed(folder: Path) -> Iterator[Path]:
        return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())


def _write(file: Path, content: bytes, *, durable: bool) -> None:
    with replacing(file) as beside, beside.open("wb") as handle:
        handle.write(content)
        handle.flush()
        if durable:
            os.fsync(handle.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
