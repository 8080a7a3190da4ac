"""Whole studies that are wrong though each file is sound: mixed up, incomplete, double, of several people, too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from fuzz.mutations.attributes import rewritten
from fuzz.sources import MARKER, PATIENT, datasets, uid
from glioserve_contract import Modality
from support.studies.scans import part10

Random = np.random.Generator
WORDS = (
    "t1 t2 flair tirm ce post pre gad gd km ohne mit nativ nach sans avec injection contraste sin con stir dwi adc swi "
    "localizer scout mpr sag cor tra 3d mprage bravo space cube fse tse se gre vibe fs fat sat repeat trace perfusion"
    f" tof angio spine brain head kopf 增强 平扫 造影 T1W+C T2W {MARKER} - _ / (2) & 🧠"
).split()


def mutated(rng: Random, files: Sequence[bytes]) -> tuple[list[bytes], str]:
    """One to three changes to the study's composition, then any order."""
    ways = [WAYS[rng.integers(len(WAYS))] for _ in range(int(rng.choice([1, 1, 2, 3])))]
    changed = list(files)
    for way in ways:
        if changed:
            changed = way(rng, changed)
    if rng.random() < 0.3:
        changed = [changed[i] for i in rng.permutation(len(changed))]
    return changed, " and ".join(way.__name__.strip("_").replace("_", " ") for way in ways)


def _edit_some(
    rng: Random, files: Sequence[bytes], edit: Callable[[Dataset, int], None], share: float | None = None
) -> list[bytes]:
    share = float(rng.choice([0.03, 0.3, 1.0])) if share is None else share
    changed = list(files)
    for number, content in enumerate(files):
        if rng.random() < share:
            try:
                changed[number] = rewritten(content, lambda d, n=number: edit(d, n))  # type: ignore[misc]
            except Exception:  # a file that an earlier change has made unreadable
                continue
    return changed


def _files_dropped(rng: Random, files: list[bytes]) -> list[bytes]:
    share = rng.choice([0.02, 0.2, 0.6, 0.95])
    return [f for f in files if rng.random() >= share]


def _end_dropped(rng: Random, files: list[bytes]) -> list[bytes]:
    return files[: int(rng.integers(len(files)))] if rng.random() < 0.5 else files[int(rng.integers(len(files))) :]


def _files_doubled(rng: Random, files: list[bytes]) -> list[bytes]:
    copies = [files[i] for i in rng.integers(0, len(files), int(rng.choice([1, 3, len(files)])))]
    return files + copies


def _copies_renamed(rng: Random, files: list[bytes]) -> list[bytes]:
    """The same images again under new SOPInstanceUIDs, and under a new series or not."""
    series = uid("copy") if rng.random() < 0.5 else ""

    def edit(dataset: Dataset, number: int) -> None:
        dataset.SOPInstanceUID = uid("copy", number)
        if series:
            dataset.SeriesInstanceUID = series

    return files + _edit_some(rng, files[: int(rng.integers(1, len(files) + 1))], edit, 1.0)


def _series_merged(rng: Random, files: list[bytes]) -> list[bytes]:
    return _edit_some(rng, files, lambda d, _: setattr(d, "SeriesInstanceUID", uid("merged")), 1.0)


def _series_split(rng: Random, files: list[bytes]) -> list[bytes]:
    """Split a series by turns, in halves, or into one for each file."""
    way = int(rng.integers(3))

    def edit(dataset: Dataset, number: int) -> None:
        part = number % 2 if way == 0 else number // 12 if way == 1 else number
        dataset.SeriesInstanceUID = uid(dataset.SeriesInstanceUID, part)

    return _edit_some(rng, files, edit, 1.0)


def _uids_swapped(rng: Random, files: list[bytes]) -> list[bytes]:
    keyword = ("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "StudyInstanceUID")[rng.integers(4)]
    pool = [uid("pool", n) for n in range(int(rng.integers(1, 4)))]
    return _edit_some(rng, files, lambda d, _: setattr(d, keyword, pool[rng.integers(len(pool))]))


def _several_patients(rng: Random, files: list[bytes]) -> list[bytes]:
    def edit(dataset: Dataset, number: int) -> None:
        dataset.PatientID, dataset.PatientName = f"MRN-{number}", f"{MARKER}^{number}"

    return _edit_some(rng, files, edit)


def _nobody(rng: Random, files: list[bytes]) -> list[bytes]:
    def edit(dataset: Dataset, _: int) -> None:
        for keyword in PATIENT:
            if keyword in dataset:
                del dataset[keyword]

    return _edit_some(rng, files, edit)


def _positions_jittered(rng: Random, files: list[bytes]) -> list[bytes]:
    amount = rng.choice([1e-4, 0.004, 0.02, 0.3, 1.0, 50.0])

    def edit(dataset: Dataset, _: int) -> None:
        old = np.array(dataset.ImagePositionPatient, dtype=float)
        dataset.ImagePositionPatient = [f"{v:.8g}" for v in old + rng.normal(0, amount, 3)]

    return _edit_some(rng, files, edit)


def _positions_shuffled(rng: Random, files: list[bytes]) -> list[bytes]:
    """Every image at another one's place."""
    headers = [pydicom.dcmread(BytesIO(f), force=True, stop_before_pixels=True) for f in files]
    places = [h.get("ImagePositionPatient") for h in headers]
    order = rng.permutation(len(files))

    def edit(dataset: Dataset, number: int) -> None:
        if places[order[number]] is not None:
            dataset.ImagePositionPatient = places[order[number]]

    return _edit_some(rng, files, edit)


def _positions_collinear(rng: Random, files: list[bytes]) -> list[bytes]:
    """All at one place, or along the image's own rows: no stack has a volume then."""
    along = rng.normal(0, 1, 3) * rng.choice([0.0, 1.0, 1e4])

    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [f"{v:.8g}" for v in along * number]

    return _edit_some(rng, files, edit, 1.0)


def _orientations_turned(rng: Random, files: list[bytes]) -> list[bytes]:
    amount = rng.choice([1e-4, 0.002, 0.05, 3.0])

    def edit(dataset: Dataset, _: int) -> None:
        axes, _r = np.linalg.qr(rng.normal(0, amount, (3, 3)) + np.eye(3))
        dataset.ImageOrientationPatient = [f"{v:.8g}" for v in axes[:, :2].T.ravel()]

    return _edit_some(rng, files, edit)


def _squeezed_or_stretched(rng: Random, files: list[bytes]) -> list[bytes]:
    """A head of a millimetre or of ten metres, flat or long."""
    factor = rng.choice([0.01, 0.1, 0.3, 3.0, 8.0], 3)

    def edit(dataset: Dataset, _: int) -> None:
        dataset.ImagePositionPatient = [f"{float(v) * factor[2]:.8g}" for v in dataset.ImagePositionPatient]
        dataset.PixelSpacing = [f"{float(v) * f:.8g}" for v, f in zip(dataset.PixelSpacing, factor[:2], strict=True)]

    return _edit_some(rng, files, edit, 1.0)


def _words_scrambled(rng: Random, files: list[bytes]) -> list[bytes]:
    sentences = [" ".join(WORDS[i] for i in rng.integers(0, len(WORDS), rng.integers(0, 7))) for _ in range(3)]
    keyword = ("SeriesDescription", "ProtocolName", "SequenceName", "ContrastBolusAgent")[rng.integers(4)]

    def edit(dataset: Dataset, _: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.add_new(keyword, "LO", sentences[_number_of(dataset.get("SeriesInstanceUID", "")) % 3][:64])

    return _edit_some(rng, files, edit, 1.0)


def _timings_scrambled(rng: Random, files: list[bytes]) -> list[bytes]:
    values = {
        k: float(rng.choice([0, 1, 9, 90, 500, 2500, 9000])) for k in ("RepetitionTime", "EchoTime", "InversionTime")
    }

    def edit(dataset: Dataset, _: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return _edit_some(rng, files, edit)


def _localisers_added(rng: Random, files: list[bytes]) -> list[bytes]:
    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.SOPInstanceUID = uid("localiser copy", number)

    return files + _edit_some(rng, files[: int(rng.integers(1, 6))], edit, 1.0)


def _pixels_replaced(rng: Random, files: list[bytes]) -> list[bytes]:
    """Constant, noise, one bright pixel, or one stripe: what registration and brain extraction are not made for."""
    way = int(rng.integers(4))

    def edit(dataset: Dataset, number: int) -> None:
        length = len(dataset.PixelData)
        pixels = np.zeros(length // 2, np.uint16)
        if way == 1:
            pixels = rng.integers(0, 4096, length // 2).astype(np.uint16)
        elif way == 2 and number == len(files) // 4:
            pixels[len(pixels) // 2] = 4000
        elif way == 3:
            pixels[: len(pixels) // 3] = 3000
        dataset.PixelData = pixels.tobytes()

    return _edit_some(rng, files, edit)


def _third_sequence_added(rng: Random, files: list[bytes]) -> list[bytes]:
    modality = (Modality.T2, Modality.FLAIR, Modality.T1)[rng.integers(3)]
    (images,) = datasets(modality)
    return files + [part10(image) for image in images]


def _other_objects_added(rng: Random, files: list[bytes]) -> list[bytes]:
    classes = ("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.7", f"1.2.{MARKER}")
    sop_class = classes[rng.integers(len(classes))]
    return files + _edit_some(rng, files[:3], lambda d, _: setattr(d, "SOPClassUID", sop_class), 1.0)


def _number_of(text: str) -> int:
    """Python's own differs between processes."""
    return sum(text.encode())


WAYS = (
    _files_dropped,
    _end_dropped,
    _files_doubled,
    _copies_renamed,
    _series_merged,
    _series_split,
    _uids_swapped,
    _several_patients,
    _nobody,
    _positions_jittered,
    _positions_shuffled,
    _positions_collinear,
    _orientations_turned,
    _squeezed_or_stretched,
    _words_scrambled,
    _words_scrambled,
    _timings_scrambled,
    _localisers_added,
    _pixels_replaced,
    _third_sequence_added,
    _other_objects_added,
)
