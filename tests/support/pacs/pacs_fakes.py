"""A PACS, a server and a recipe in memory, for tests of the bridge's states.

An image's content is a line ``SEQUENCE QUALITY``, as ``t1 2``. The recipe wants t1 and t1ce and takes the best of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian, SegmentationStorage

from glioserve_client import Prediction
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.report import ModelRecord
from glioserve_pacs.answering import Made
from glioserve_pacs.archives import FoundStudy, Image, Keep, Query
from glioserve_pacs.bridge import Bridge
from glioserve_pacs.metrics import Metrics
from glioserve_pacs.parts import Parts, Settings
from glioserve_pacs.records.audit import AuditLog, pseudonyms
from glioserve_pacs.records.files import Files
from glioserve_pacs.records.state import State
from glioserve_pacs.records.study import Report, Study
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.lines import EVENT
from glioserve_watch.audit.read import lines_in
from support.results.answers import DIGEST, small_answer

WANTED = ("t1", "t1ce")
STUDY, OTHER = "1.2.840.99999.7", "1.2.840.99999.8"
COMPLETE = ("t1 1", "t1ce 1")
"""Images of a study that the recipe takes."""


class Killed(BaseException):
    """The process ends here: nothing of the bridge catches it."""


@dataclass
class FakePacs:
    """Source and destination. ``results`` are the files that were stored; each may be stored once."""

    images_of: dict[str, dict[Image, str]] = field(default_factory=dict)
    results: dict[str, Dataset] = field(default_factory=dict)
    stored_times: dict[str, int] = field(default_factory=dict)
    down: bool = False
    results_look_like_images: bool = False
    tells_counts: bool = True
    before_store: Callable[[int], None] = lambda _: None
    """Called before each file is stored, with the number of those that are."""
    fetched: int = 0
    takes_not: frozenset[str] = frozenset()
    """SOP classes of results that it refuses."""
    not_listed: set[str] = field(default_factory=set)
    """Studies whose images it lists as what is not DICOM."""

    def add(self, *contents: str, study: str = STUDY, series: str = "") -> None:
        """Put images into a study; the same content twice is the same image."""
        for content in contents:
            uid = f"{study}.{sum(map(ord, content))}"
            name = series or f"{study}.{sum(map(ord, content.split()[0]))}"
            self.images_of.setdefault(study, {})[Image(name, uid)] = content

    def find(self, query: Query) -> list[FoundStudy]:
        self._check()
        return [
            FoundStudy(uid, len(images) + len(self.results_of(uid)) if self.tells_counts else None)
            for uid, images in self.images_of.items()
            if query.study_instance_uid in ("", uid)
        ]

    def images(self, study_instance_uid: str) -> frozenset[Image]:
        self._check()
        if study_instance_uid in self.not_listed:
            raise GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED)
        images = set(self.images_of.get(study_instance_uid, ()))
        if self.results_look_like_images:
            images |= {Image("9.9", uid) for uid in self.results_of(study_instance_uid)}
        return frozenset(images)

    def fetch(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> None:
        for image in sorted(images):
            self._check()
            self.fetched += 1
            keep(image, self.images_of[study_instance_uid][image].encode())

    def missing(self, study_instance_uid: str, sop_instance_uids: Collection[str]) -> set[str]:
        self._check()
        return set(sop_instance_uids) - set(self.results)

    def store(self, files: Sequence[Path]) -> tuple[str, ...]:
        refused = []
        for number, file in enumerate(files):
            self._check()
            self.before_store(number)
            dataset = pydicom.dcmread(file)
            if dataset.SOPClassUID in self.takes_not:
                refused.append("0xA900")
                continue
            uid = str(dataset.SOPInstanceUID)
            self.results[uid] = dataset
            self.stored_times[uid] = self.stored_times.get(uid, 0) + 1
        return tuple(refused)

    def results_of(self, study: str) -> list[str]:
        return [uid for uid, dataset in self.results.items() if dataset.StudyInstanceUID == study]

    def reports_of(self, study: str = STUDY) -> list[Dataset]:
        """Reports in the order in which they were stored."""
        kept = (self.results[uid] for uid in self.results_of(study))
        return [dataset for dataset in kept if dataset.SOPClassUID == Comprehensive3DSRStorage]

    def _check(self) -> None:
        if self.down:
            raise GlioserveError(ErrorCode.PACS_UNREACHABLE)


@dataclass
class FakeAnswers:
    """A server. It answers the same images with the same results, whenever it is asked."""

    serving: str = "1"
    asked: list[str] = field(default_factory=list)
    fails: list[GlioserveError] = field(default_factory=list)
    """Raised instead of the next answers."""
    after: Callable[[], None] = lambda: None
    """Called when an answer is made."""

    def version(self) -> str:
        return self.serving

    def answer(self, folder: Path, predecessor: Report | None, study_instance_uid: str) -> Made:
        self.asked.append(study_instance_uid)
        if self.fails:
            raise self.fails.pop(0)
        seed = " ".join(sorted(file.read_text() for file in folder.iterdir())) + self.serving
        model = ModelRecord("glioma", self.serving, DIGEST, "resnet10")
        prediction = Prediction.from_outputs(small_answer(), heatmap=True, request_id="r")
        prediction = replace(prediction, report=replace(prediction.report, model=model))
        made = Made(
            prediction,
            (
                _result(f"{seed} report", study_instance_uid, Comprehensive3DSRStorage, predecessor),
                _result(f"{seed} segmentation", study_instance_uid, SegmentationStorage),
            ),
        )
        self.after()
        return made


class OpenedAnswers(FakeAnswers):
    """A server in the place of :class:`glioserve_pacs.answering.Answering`, whatever that is opened with."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __enter__(self) -> OpenedAnswers:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def choose(folder: Path) -> str:
    """The recipe: the best image of each wanted sequence, or GLIO-1301."""
    there = sorted(file.read_text() for file in folder.iterdir())
    best = {text.split()[0]: text for text in there if text.split()[0] in WANTED}
    if set(best) != set(WANTED):
        raise GlioserveError(ErrorCode.MISSING_SEQUENCE)
    return hashlib.sha256(" ".join(best.values()).encode()).hexdigest()


def _result(seed: str, study: str, sop_class: UID, predecessor: Report | None = None) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.StudyInstanceUID = sop_class, study
    made.SOPInstanceUID = f"2.25.{int(hashlib.sha256(seed.encode()).hexdigest()[:24], 16)}"
    made.SeriesInstanceUID = f"{made.SOPInstanceUID}.1"
    made.Modality = "SR"
    if predecessor is not None:
        item = Dataset()
        item.StudyInstanceUID = study
        item.ReferencedSOPInstanceUID = predecessor.sop_instance_uid
        made.PredecessorDocumentsSequence = [item]
    return made


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1.6e9

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A PACS, a server and a state folder; :meth:`bridge` is a process that begins."""

    folder: Path
    pacs: FakePacs = field(default_factory=FakePacs)
    server: FakeAnswers = field(default_factory=FakeAnswers)
    clock: Clock = field(default_factory=Clock)
    told: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    state_class: Callable[..., State] = State

    @contextmanager
    def bridge(self, **settings: object) -> Iterator[Bridge]:
        """A bridge over the folder, whose database is closed at the end, as it is when a process ends."""
        subject = pseudonyms(self.folder)
        state = self.state_class(self.folder / "bridge.sqlite", subject, clock=self.clock)
        parts = Parts(
            source=self.pacs,
            destination=self.pacs,
            answers=self.server,
            choose=choose,
            state=state,
            files=Files(self.folder, subject),
            audit=(audit := AuditLog(self.folder, self.told.append)),
            metrics=self.metrics,
        )
        try:
            made = Bridge(parts, Settings(**{"stable_s": 60.0, **settings}), self.clock)  # type: ignore[arg-type]
            made.clean_up()
            yield made
        finally:
            audit.close()
            state.close()

    def settle(self, bridge: Bridge) -> None:
        """Look at the PACS, let everything become stable, and work until nothing is due."""
        bridge.poll()
        self.clock.now += 61
        bridge.poll()
        while bridge.step():
            pass
        bridge.report()

    def log(self) -> str:
        """The whole log as text."""
        return "".join(f"{text}\n" for text, _ in lines_in(self.folder / AUDIT_FOLDER))

    def events(self) -> list[dict[str, Any]]:
        """The events in the log, oldest first."""
        return [line.body for _, line in lines_in(self.folder / AUDIT_FOLDER) if line.kind == EVENT]


def study_of(bridge: Bridge, uid: str = STUDY) -> Study:
    """Return what the bridge knows of a study."""
    study = bridge._state.study(uid)
    assert study is not None
    return study
