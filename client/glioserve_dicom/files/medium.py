"""List the MR images of a medium's DICOMDIR (PS3.3 F.3), so that those which were not copied do not go unnoticed."""

from __future__ import annotations

from pydicom.uid import MediaStorageDirectoryStorage

from glioserve_contract import GlioserveError
from glioserve_dicom.files.attributes import items, text
from glioserve_dicom.files.part10 import MR_STORAGE, Instance
from glioserve_dicom.files.quiet import quiet

NOT_THERE = "listed by the DICOMDIR and not there"
"""Reason of a :class:`glioserve_dicom.files.folder.SkippedFile`."""


def listed_images(instance: Instance) -> frozenset[str]:
    """Return the SOPInstanceUIDs of the MR images that a DICOMDIR lists; none for any other file.

    A directory that cannot be read lists none: it is not needed to read the files beside it.
    """
    if instance.sop_class_uid != MediaStorageDirectoryStorage:
        return frozenset()
    with quiet("pydicom"):
        try:
            records = items(instance.dataset, "DirectoryRecordSequence")
            images = [record for record in records if text(record, "ReferencedSOPClassUIDInFile") in MR_STORAGE]
            return frozenset(filter(None, (text(image, "ReferencedSOPInstanceUIDInFile") for image in images)))
        except GlioserveError:
            return frozenset()
