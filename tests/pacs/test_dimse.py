"""DIMSE against a small PACS of the test's own: odd statuses, broken associations, and what is no DICOM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined,unused-ignore]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import FoundStudy, Image, Query
from glioserve_pacs.archives.dimse import Dimse, DimseAccess
from glioserve_pacs.archives.peers import Peer
from glioserve_pacs.archives.receiver import Receiver
from support.studies.dicom_files import file_bytes, mr_dataset

STUDY, SERIES = "1.2.3", "1.2.3.4"
HERE = Peer("PACS", "127.0.0.1")
Handler = Callable[[Event], Any]
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom's


@contextmanager
def pacs(
    *,
    find: Handler | None = None,
    move: Handler | None = None,
    store: Handler | None = None,
    classes: tuple[UID, ...] = (Comprehensive3DSRStorage, SegmentationStorage),
    receiver: Receiver | None = None,
) -> Iterator[Dimse]:
    """The bridge's side of a PACS that answers by these handlers."""
    entity = AE(ae_title="PACS")
    handlers: list[Any] = []
    for event, handler, model in (
        (evt.EVT_C_FIND, find, StudyRootQueryRetrieveInformationModelFind),
        (evt.EVT_C_MOVE, move, StudyRootQueryRetrieveInformationModelMove),
    ):
        if handler is not None:
            entity.add_supported_context(model)
            handlers.append((event, handler))
    if store is not None:
        handlers.append((evt.EVT_C_STORE, store))
        for sop_class in classes:
            entity.add_supported_context(sop_class)
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Dimse(DimseAccess(HERE, server.server_address[1], "BRIDGE", timeout_s=20), receiver)
    finally:
        server.shutdown()


def match(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def code_of(act: Callable[[], object]) -> ErrorCode:
    with pytest.raises(GlioserveError) as caught:
        act()
    assert STUDY not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("query", [Query(accession_number="A7"), Query(study_instance_uid=STUDY)])
def test_a_pacs_that_does_not_know_a_key_names_no_other_study(query: Query) -> None:
    def find(event: Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID="1.2.9", AccessionNumber="A8")
        yield 0xFF00, match(StudyInstanceUID=STUDY, AccessionNumber="A7", NumberOfStudyRelatedInstances=3)
        yield 0xFF00, match(StudyInstanceUID="1.2.10")

    with pacs(find=find) as source:
        assert source.find(query) == [FoundStudy(STUDY, 3)]


def test_a_study_that_cannot_be_asked_for_keeps_no_other_one_from_being_found() -> None:
    def find(event: Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID="")
        yield 0xFF01, match(StudyInstanceUID=STUDY)

    with pacs(find=find) as source:
        assert source.find(Query()) == [FoundStudy(""), FoundStudy(STUDY)]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0xA700, ErrorCode.PACS_UNREACHABLE),
        (0xA900, ErrorCode.PACS_REFUSED),
        (0xC001, ErrorCode.PACS_REFUSED),
        (0xFE00, ErrorCode.PACS_REFUSED),
        (0x0122, ErrorCode.PACS_REFUSED),
    ],
)
def test_a_search_that_ends_with_a_failure_is_told(status: int, code: ErrorCode) -> None:
    def find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY)
        yield status, None

    with pacs(find=find) as source:
        assert code_of(lambda: source.find(Query())) is code


def test_a_search_that_is_broken_off_is_told() -> None:
    def find(event: Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY)
        event.assoc.abort()
        yield 0xFF00, match(StudyInstanceUID="1.2.4")

    with pacs(find=find) as source:
        assert code_of(lambda: source.find(Query())) is ErrorCode.PACS_UNREACHABLE


def test_a_match_that_is_not_dicom_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is left out unseen would make a study look complete without it."""

    def garbage(*_: object) -> Dataset:
        raise ValueError("no DICOM")

    monkeypatch.setattr("pynetdicom.association.decode", garbage)

    def find(event: Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY)

    with pacs(find=find) as source:
        assert code_of(lambda: source.find(Query())) is ErrorCode.PACS_ANSWER_MALFORMED


def test_a_number_of_instances_that_is_none_keeps_no_study_from_being_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(event: Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY)

    def decoded(*_: object) -> Dataset:
        made = match(StudyInstanceUID=STUDY)
        made[0x00201208] = RawDataElement(BaseTag(0x00201208), "IS", 4, b"many", 0, True, True)
        return made

    monkeypatch.setattr("pynetdicom.association.decode", decoded)
    with pacs(find=find) as source:
        assert source.find(Query()) == [FoundStudy(STUDY)]


def image(number: int) -> Dataset:
    content = file_bytes(
        mr_dataset(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=f"{SERIES}.{number}")
    )
    return pydicom.dcmread(BytesIO(content))


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ((0, 1, 2), None, None),
        ((0, 9, 2), None, None),  # 9 is not asked for, so its sub-operation fails and the status is a warning, B000
        ((9,), None, ErrorCode.PACS_UNREACHABLE),  # all fail: A702
        ((0,), 0xA702, ErrorCode.PACS_UNREACHABLE),
        ((), 0xA801, ErrorCode.PACS_REFUSED),
        ((0, 1), 0xFE00, ErrorCode.PACS_REFUSED),
        ((0,), 0xC001, ErrorCode.PACS_REFUSED),
    ],
)
def test_a_move_brings_what_it_brings_and_tells_a_failure(
    sent: tuple[int, ...], status: int | None, code: ErrorCode | None
) -> None:
    kept: list[str] = []
    images = [Image(SERIES, f"{SERIES}.{number}") for number in range(3)]
    with Receiver("BRIDGE", "127.0.0.1", 0, [HERE]) as receiver:

        def move(event: Event) -> Iterator[Any]:
            contexts = [build_context(str(image(0).SOPClassUID), ExplicitVRLittleEndian)]
            yield "127.0.0.1", receiver.port, {"ae_title": "BRIDGE", "contexts": contexts}
            yield len(sent) + (status is not None)
            for number in sent:
                yield 0xFF00, image(number)
            if status is not None:
                yield status, None

        with pacs(move=move, receiver=receiver) as source:

            def fetch() -> None:
                source.fetch(STUDY, images, lambda one, _: kept.append(one.sop_instance_uid[-1]))

            if code is None:
                fetch()
            else:
                assert code_of(fetch) is code
    assert kept == [str(number) for number in sent if number != 9]


def results(folder: Path) -> list[Path]:
    files = []
    for number, sop_class in enumerate((SegmentationStorage, Comprehensive3DSRStorage, SegmentationStorage)):
        made = image(number)
        made.SOPClassUID = sop_class
        file = folder / f"{number}.dcm"
        file.write_bytes(file_bytes(made))
        files.append(file)
    return files


@pytest.mark.parametrize(
    ("status", "refusals"), [(0x0000, ()), (0xB000, ()), (0xA900, ("0xA900", "0xA900")), (0xC000, ("0xC000", "0xC000"))]
)
def test_a_result_that_is_refused_keeps_no_other_one_from_being_stored(
    tmp_path: Path, status: int, refusals: tuple[str, ...]
) -> None:
    taken: list[str] = []

    def store(event: Event) -> int:
        sop_class = event.request.AffectedSOPClassUID
        if sop_class == Comprehensive3DSRStorage or not refusals:
            taken.append(sop_class)
            return 0x0000 if sop_class == Comprehensive3DSRStorage else status
        return status

    with pacs(store=store) as destination:
        assert destination.store(results(tmp_path)) == refusals
    assert taken.count(Comprehensive3DSRStorage) == 1


def test_a_kind_that_the_pacs_does_not_negotiate_keeps_no_other_one_from_being_stored(tmp_path: Path) -> None:
    taken: list[str] = []

    def store(event: Event) -> int:
        taken.append(event.request.AffectedSOPClassUID)
        return 0

    with pacs(store=store, classes=(Comprehensive3DSRStorage,)) as destination:
        assert destination.store(results(tmp_path)) == ("no Segmentation Storage",) * 2
    assert taken == [Comprehensive3DSRStorage]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_is_broken_off_is_told(tmp_path: Path, when: str) -> None:
    def store(event: Event) -> int:
        if when == "before":
            event.assoc.abort()
        return 0xA700 if when == "after" else 0

    with pacs(store=store) as destination:
        assert code_of(lambda: destination.store(results(tmp_path))) is ErrorCode.PACS_UNREACHABLE
