"""A study gives the same stacks, parts, problems and sequences, read as it is or as the client sends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from io import BytesIO
from itertools import permutations
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from glioserve_client import DicomStudy
from glioserve_client.deidentify import deidentify
from glioserve_contract import GlioserveError, Modality
from glioserve_dicom.identity import CODES, image_type_order, value_order
from glioserve_dicom.read import Instances, read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.series.acquisition import acquisition_of
from glioserve_preprocess.series.evidence import judge
from glioserve_preprocess.series.selection import choose_series
from support.studies.encodings import edited, enhanced
from support.studies.phantoms import small_phantom
from support.studies.pitfalls import SAGITTAL, files, other_pixels, same_series, scan

NAME = "ZYXQUIST"
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # pydicom's, of a term in lower case


def told(contents: Sequence[bytes], *, identified: bool) -> list[tuple[Any, ...]]:
    """Series, part, slices, problem, sequence and signal of each stack, in the order of the stacks."""
    found = []
    for stack in stacks_of(read(list(contents), accept_identified=identified)):
        try:
            signal: object = hash(assemble(stack, Modality.T1).voxels.tobytes())
        except GlioserveError as problem:
            signal = problem.code
        first = stack.frames[0]
        evidence = judge(acquisition_of(first.dataset, first.index))
        number = str(first.dataset.get("SeriesNumber", ""))
        found.append((number, stack.part, stack.slices, signal, evidence.modality, evidence.reasons))
    return found


def as_sent(contents: Sequence[bytes]) -> tuple[bytes, ...]:
    sent = deidentify([f for f in DicomStudy.from_bytes(list(contents)).files if not f.reason_not_sent]).contents
    assert not [content for content in sent if NAME.encode() in content.upper()]
    return sent


def kinds(*types: str, place: int = 2, **header: Any) -> list[bytes]:
    """One series with an image of each type at every place."""
    parts = []
    for number, value in enumerate(types):
        image_type = ["ORIGINAL", "PRIMARY", "M", "ND"]
        image_type[place] = value
        parts.append(scan(other_pixels(number + 1), ImageType=image_type, **header))
    return files(same_series(*parts))


def stack_ids(*names: str) -> list[bytes]:
    datasets = [d for n in range(len(names)) for d in scan(other_pixels(n + 1))]
    whole = enhanced(datasets)
    slices = len(datasets) // len(names)
    for index, frame in enumerate(whole.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].StackID = names[index // slices]
    return files([whole])


def frame_types(keyword: str, *values: Any) -> list[bytes]:
    datasets = [d for n in range(len(values)) for d in scan(other_pixels(n + 1))]
    whole = enhanced(datasets)
    slices = len(datasets) // len(values)
    for index, frame in enumerate(whole.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        setattr(item, keyword, values[index // slices])
        frame.MRImageFrameTypeSequence = [item]
    return files([whole])


def halves(**attributes: tuple[Any, Any]) -> list[bytes]:
    """A volume split over two series that differ in some attributes."""
    series = [generate_uid(), generate_uid()]

    def split(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID = series[index % 2]
        for keyword, values in attributes.items():
            setattr(dataset, keyword, values[index % 2])

    return files(edited(scan(), split))


def frames_of_reference(count: int) -> list[bytes]:
    return files(same_series(*(scan(other_pixels(n), FrameOfReferenceUID=generate_uid()) for n in range(count))))


def without_orientation(value: str) -> list[bytes]:
    """Two kinds of images, one of which has an image without a place."""

    def spoil(dataset: Dataset, index: int) -> None:
        if index == 3:
            del dataset.ImageOrientationPatient

    sound = scan(ImageType=["ORIGINAL", "PRIMARY", "KIND A"])
    return files(same_series(sound, edited(scan(other_pixels(), ImageType=["ORIGINAL", "PRIMARY", value]), spoil)))


STUDIES: dict[str, Callable[[], list[bytes]]] = {
    "mDIXON": lambda: kinds("W", "F", "IP", "OP", SeriesDescription="T1W_mDIXON_TSE"),
    "mDIXON with unknown images": lambda: kinds("W", "WF_QUANT", "IP", "FF_QUANT"),
    "in-phase and opposed": lambda: kinds("IP", "OP"),
    "magnitude and B1 map": lambda: kinds("M_FFE", "M_B1"),
    "susceptibility": lambda: kinds("SW_M_FFE", "SW_P_FFE"),
    "RMS and echoes": lambda: kinds("RMS", "ECHO1", "ECHO2"),
    "mean and magnitude": lambda: kinds("MEAN", "M"),
    "ND and NORM": lambda: kinds("ND", "NORM", "DIS2D", "DIS3D", place=3),
    "unknown terms": lambda: kinds("ZZZ", NAME, "AAA"),
    "unknown terms in lower case": lambda: kinds("zzz", NAME.lower(), "M"),
    "one term in two cases": lambda: kinds("abc", "ABC", "M"),
    "terms that look like numbers of a request": lambda: kinds("OTHER2", "ABC", "OTHER10", "OTHER"),
    "numbers for terms": lambda: kinds("10", "9", "TE1"),
    "a dozen unknown terms": lambda: kinds(*(f"KIND{n}" for n in range(12))),
    "an empty term": lambda: kinds("", "ABC"),
    "unknown terms in two places": lambda: [*kinds("B", "A"), *kinds("C", "A", place=3)],
    "stack numbers": lambda: stack_ids("10", "9"),
    "stack names": lambda: stack_ids("right", NAME, "LEFT"),
    "stack names and numbers": lambda: stack_ids("2", "MRN4711", "123456", "1"),
    "frame types": lambda: frame_types("FrameType", *(["ORIGINAL", "PRIMARY", k, "NONE"] for k in ("ZZZ", "AAA", "M"))),
    "unknown components": lambda: frame_types("ComplexImageComponent", "ZZZ", "MAGNITUDE", "AAA"),
    "frames of reference": lambda: frames_of_reference(4),
    "halves of one volume": halves,
    "halves of two names": lambda: halves(SeriesDescription=("T1 AX Zyxquist", "T1 AX Abelard")),
    "halves of two descriptions": lambda: halves(SeriesDescription=("T1 AX", "T1 SAG")),
    "halves with an agent's two texts": lambda: halves(ContrastBolusAgent=("Gadovist", "GADAVIST 7 ml")),
    "halves before and after": lambda: halves(ContrastBolusAgent=("off", "Gadovist")),
    "halves of two unknown types": lambda: halves(
        ImageType=(["ORIGINAL", "PRIMARY", "A"], ["ORIGINAL", "PRIMARY", "B"])
    ),
    "halves of two unknown variants": lambda: halves(SequenceVariant=("ABC", "DEF")),
    "an image of an unknown type without a place": lambda: without_orientation("KIND B"),
    "an image of the same unknown type without a place": lambda: without_orientation("kind a"),
    "a localiser": lambda: files(
        same_series(scan(), scan(other_pixels()[:3], SAGITTAL, ImageType=["ORIGINAL", "PRIMARY", "SCOUT"]))
    ),
    "agent off": lambda: files(scan(ContrastBolusAgent="off", Manufacturer="Hitachi Medical Corporation")),
    "one-word scout": lambda: files(scan(SeriesDescription="AAHScout", SequenceName="*fl3d1_ns")),
    "minus": lambda: files(scan(SeriesDescription="AX T1 - GD")),
    "classic with functional groups": lambda: files(scan(SharedFunctionalGroupsSequence=[Dataset()])),
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_same_stacks_both_ways(name: str) -> None:
    contents = STUDIES[name]()
    assert told(as_sent(contents), identified=False) == told(contents, identified=True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mDIXON", 4),
        ("susceptibility", 2),
        ("RMS and echoes", 3),
        ("a dozen unknown terms", 12),
        ("one term in two cases", 2),
        ("stack names", 3),
        ("unknown components", 3),
        ("frames of reference", 4),
        ("halves of two names", 1),
        ("halves of two descriptions", 2),
        ("halves before and after", 2),
        ("halves of two unknown types", 2),
    ],
)
def test_how_many_stacks_a_study_has(name: str, parts: int) -> None:
    assert len(told(STUDIES[name](), identified=True)) == parts


def test_series_come_in_the_order_of_their_uids_both_ways() -> None:
    contents = [c for n in range(6) for c in files(scan(other_pixels(n), SeriesNumber=n))]
    assert told(as_sent(contents), identified=False) == told(contents, identified=True)


def test_numbers_of_a_request_keep_the_order_of_the_values() -> None:
    values = ["ZZZ", "ABC", "OTHER2", "OTHER10", "12345", "A B", "OTHER"]
    unknown = [v for v in values if v not in CODES["ImageType"]]
    ordered = sorted(unknown, key=value_order)
    sent = {value: f"OTHER{n}" for n, value in enumerate(ordered, 1)}
    for one, other in permutations(unknown, 2):
        before = image_type_order([one]) < image_type_order([other])
        assert before is (image_type_order([sent[one]]) < image_type_order([sent[other]]))


# --- whole studies of a phantom ---------------------------------------------------------------------------------------
RECIPES = [("t1", "t1ce", "t2", "flair"), ("t1ce", "t2", "flair"), ("t1", "t2", "flair")]
Study = dict[int, list[Dataset]]


@pytest.fixture(scope="module")
def phantom() -> Study:
    """The phantom's series by number, a fifth of their pixels in either direction."""
    study: Study = {}
    for content in dicom_files(small_phantom(1)):
        dataset = pydicom.dcmread(BytesIO(content))
        pixels = np.ascontiguousarray(dataset.pixel_array[::5, ::5])
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [float(v) * 5 for v in dataset.PixelSpacing]
        dataset.PixelData = pixels.tobytes()
        study.setdefault(int(dataset.SeriesNumber), []).append(dataset)
    return study


def changed(series: Sequence[Dataset], number: int, uid: str = "", **attributes: Any) -> list[Dataset]:
    """A copy of a series under another number, with other attributes."""
    uid = uid or generate_uid()
    copies = deepcopy(list(series))
    for dataset in copies:
        dataset.SeriesNumber, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = number, uid, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return copies


def dixon(study: Study) -> list[Dataset]:
    uid = generate_uid()
    words = {"SeriesDescription": "T1W_mDIXON_TSE", "ProtocolName": "T1W_mDIXON_TSE"}
    types = [["ORIGINAL", "PRIMARY", kind, kind, "SE"] for kind in ("W", "F", "IP", "OP", "QUANT1", "QUANT2")]
    return [d for t in types for d in changed(study[2], 2, uid, ImageType=t, **words)]


def two_reconstructions(study: Study) -> list[Dataset]:
    return [
        d
        for n, filters in enumerate((["ND"], ["NORM", "DIS2D"], ["NORM", "DIS3D"]))
        for d in changed(study[2], 20 + n, ImageType=["ORIGINAL", "PRIMARY", "M", *filters], AcquisitionTime="090000")
    ]


PHANTOMS: dict[str, Callable[[Study], list[Dataset]]] = {
    "as it is": lambda s: [d for series in s.values() for d in series],
    "no agent": lambda s: [d for n in (2, 3, 4) for d in s[n]],
    "two reconstructions of one acquisition": lambda s: [*two_reconstructions(s), *s[3], *s[4]],
    "agent off": lambda s: [*changed(s[2], 2, ContrastBolusAgent="off"), *s[3], *s[4]],
    "scout of one word": lambda s: [*changed(s[2], 1, SeriesDescription="AAHScout"), *s[3], *s[4], *s[5]],
    "minus": lambda s: [*changed(s[2], 2, SeriesDescription="T1 - KM"), *s[3], *s[4], *s[5]],
    "Dixon in one series": lambda s: [*dixon(s), *s[3], *s[4], *s[5]],
    "agent's dose 0": lambda s: [
        *changed(s[5], 5, ContrastBolusVolume="0", SeriesDescription="T1"),
        *s[2],
        *s[3],
        *s[4],
    ],
}


@pytest.mark.parametrize("name", PHANTOMS)
def test_a_phantoms_study_both_ways(name: str, phantom: Study) -> None:
    contents = files(PHANTOMS[name](phantom))
    sent = as_sent(contents)
    assert told(sent, identified=False) == told(contents, identified=True)
    there, here = read(sent, accept_identified=False), read(contents, accept_identified=True)
    for recipe in RECIPES:
        assert choice(there, recipe) == choice(here, recipe)


def choice(instances: Instances, recipe: Sequence[str]) -> object:
    try:
        chosen = choose_series(instances, [Modality(name) for name in recipe], 20).chosen
    except GlioserveError as error:
        return error.code
    return {modality: (c.number, c.stack.part, c.slices) for modality, c in chosen.items()}
