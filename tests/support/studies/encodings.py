"""One image in every way that DICOM may write it down."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from support.studies.jpeg_streams import transformed
from support.studies.scans import part10

NATIVE = {
    "explicit little endian": ExplicitVRLittleEndian,
    "implicit VR": ImplicitVRLittleEndian,
    "explicit big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
LOSSLESS = {"RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}


def encoded(dataset: Dataset, syntax: UID) -> bytes:
    """A file of a copy of ``dataset`` (native little endian, 16 bits) in any of the transfer syntaxes above."""
    dataset = deepcopy(dataset)
    part10(dataset)
    if syntax == JPEGLosslessSV1:
        set_codestream(dataset, _jpeg_lossless(dataset.pixel_array), syntax)
    elif syntax in LOSSLESS.values():
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    return part10(dataset)


def jpeg_baseline(dataset: Dataset) -> bytes:
    """Encode as JPEG, lossy and of 8 bits: stored values above 255 are cut off."""
    dataset = deepcopy(dataset)
    part10(dataset)
    stream = BytesIO()
    Image.fromarray(np.minimum(dataset.pixel_array, 255).astype(np.uint8)).save(stream, "JPEG", quality=95)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    set_codestream(dataset, stream.getvalue(), JPEGBaseline8Bit)
    return part10(dataset)


def jpeg_extended(dataset: Dataset) -> bytes:
    """Encode as JPEG, lossy and of 12 bits: stored values above 4095 are cut off."""
    dataset = deepcopy(dataset)
    part10(dataset)
    stream = transformed(np.minimum(dataset.pixel_array, 4095), step=4)
    dataset.BitsStored, dataset.HighBit = 12, 11
    set_codestream(dataset, stream, JPEGExtended12Bit)
    return part10(dataset)


def jpeg_values(content: bytes) -> npt.NDArray[np.uint8]:
    """Return what Pillow makes of the codestream of such a file."""
    return np.asarray(Image.open(BytesIO(get_frame(dcmread(BytesIO(content)).PixelData, 0, number_of_frames=1))))


def without_preamble(content: bytes) -> bytes:
    """The file without its 128 bytes and their prefix."""
    return content[132:]


def bare(dataset: Dataset, *, implicit: bool = True) -> bytes:
    """The data set alone: no preamble, no meta header."""
    dataset = deepcopy(dataset)
    dataset.file_meta = FileMetaDataset()
    stream = BytesIO()
    dataset.save_as(stream, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return stream.getvalue()


def zipped(files: Sequence[bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of the files, with the junk that archives of studies hold."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("README.TXT", b"Read me")
        archive.writestr("__MACOSX/._IM0", b"junk")
        for number, content in enumerate(files):
            archive.writestr(f"DICOM/IM{number:06d}", content)
    return stream.getvalue()


def enhanced(datasets: Sequence[Dataset], sop_class: UID = EnhancedMRImageStorage, **attributes: object) -> Dataset:
    """Classic images as the frames of one enhanced object, in the order given (PS3.3 A.36).

    Orientation and pixel spacing are shared; position, timings, rescale and place in the stack stand per frame.
    """
    first = deepcopy(datasets[0])
    moved = "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness RescaleSlope RescaleIntercept "
    moved += "RepetitionTime EchoTime FlipAngle InversionTime AcquisitionNumber TemporalPositionIdentifier"
    for keyword in moved.split():
        if keyword in first:
            delattr(first, keyword)
    first.SOPClassUID, first.SOPInstanceUID = sop_class, generate_uid()
    first.NumberOfFrames = len(datasets)
    first.PixelData = b"".join(d.PixelData for d in datasets)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(datasets[0], "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_item(datasets[0], "PixelSpacing", "SliceThickness")]
    first.SharedFunctionalGroupsSequence = DicomSequence([shared])
    first.PerFrameFunctionalGroupsSequence = DicomSequence([_frame(d, n) for n, d in enumerate(datasets, 1)])
    for keyword, value in attributes.items():
        setattr(first, keyword, value)
    return first


def edited(datasets: Sequence[Dataset], edit: Callable[[Dataset, int], None]) -> list[Dataset]:
    """Copies, each changed by ``edit(dataset, index)``."""
    copies = [deepcopy(d) for d in datasets]
    for index, dataset in enumerate(copies):
        edit(dataset, index)
    return copies


def _frame(dataset: Dataset, number: int) -> Dataset:
    frame, content, echo, kind = Dataset(), Dataset(), Dataset(), Dataset()
    content.StackID = "1"
    content.InStackPositionNumber = number
    if "TemporalPositionIdentifier" in dataset:
        content.TemporalPositionIndex = int(dataset.TemporalPositionIdentifier)
    if "AcquisitionNumber" in dataset:
        content.FrameAcquisitionNumber = int(dataset.AcquisitionNumber)
    frame.FrameContentSequence = [content]
    frame.PlanePositionSequence = [_item(dataset, "ImagePositionPatient")]
    frame.PixelValueTransformationSequence = [_item(dataset, "RescaleSlope", "RescaleIntercept")]
    frame.MRTimingAndRelatedParametersSequence = [_item(dataset, "RepetitionTime", "FlipAngle")]
    if dataset.get("EchoTime") is not None:
        echo.EffectiveEchoTime = float(dataset.EchoTime)
        frame.MREchoSequence = [echo]
    kind.FrameType = dataset.ImageType
    frame.MRImageFrameTypeSequence = [kind]
    return frame


def _item(dataset: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            item.add(deepcopy(dataset[keyword]))
    return item


def set_codestream(dataset: Dataset, stream: bytes, syntax: UID) -> None:
    """Make a stream that is encoded already the pixels of ``dataset``."""
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax


def _jpeg_lossless(pixels: npt.NDArray[Any]) -> bytes:
    """GDCM's codestream: of the libraries at hand, it alone writes lossless JPEG."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(f"{folder}/image.dcm")
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(np.ascontiguousarray(pixels)[np.newaxis]))
        written = dcmread(f"{folder}/image.dcm")
    assert written.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return get_frame(written.PixelData, 0, number_of_frames=1)
