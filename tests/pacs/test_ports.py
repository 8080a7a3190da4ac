"""The bridge's own DICOM port: who may send, what is taken, and what a full queue says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, JPEGLSLossless, MRImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import Image, Query
from glioserve_pacs.archives.dimse import Dimse, DimseAccess
from glioserve_pacs.archives.peers import Peer, admitted
from glioserve_pacs.archives.received import Received
from glioserve_pacs.archives.receiver import Receiver
from glioserve_pacs.metrics import Metrics
from glioserve_pacs.records.files import Files
from glioserve_pacs.records.state import IN_MEMORY, State
from glioserve_pacs.records.study import Phase
from support.studies.dicom_files import file_bytes, mr_dataset

SCANNER = Peer("SCANNER", "127.0.0.1")
STUDY = "1.2.840.99999.7"


def image(number: int, **attributes: object) -> Dataset:
    content = file_bytes(mr_dataset(StudyInstanceUID=STUDY, SOPInstanceUID=f"{STUDY}.{number}", **attributes))
    return pydicom.dcmread(BytesIO(content))


def sent(port: int, *datasets: Dataset, ae_title: str = "SCANNER", called: str = "BRIDGE") -> list[int]:
    """Statuses of C-STORE; -1 for an association that was rejected, -2 for an object that is not taken."""
    entity = AE(ae_title=ae_title)
    for sop_class in (MRImageStorage, EncapsulatedPDFStorage):
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        assert association.is_rejected
        return [-1]
    statuses = []
    for dataset in datasets:
        try:
            statuses.append(int(association.send_c_store(dataset).Status))
        except ValueError:
            statuses.append(-2)
    association.release()
    return statuses


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[State, Files, Metrics]]:
    state = State(IN_MEMORY, lambda uid: f"s{hash(uid)}")
    yield state, Files(tmp_path, lambda uid: f"s{hash(uid) % 10**9}"), Metrics()
    state.close()


@contextmanager
def port(site: tuple[State, Files, Metrics], *peers: Peer, most: int = 10) -> Iterator[int]:
    state, files, metrics = site
    take = Received(state, files, metrics, most).take
    with Receiver("BRIDGE", "127.0.0.1", 0, peers, take=take, refused=lambda _: metrics.turned_away.inc()) as receiver:
        yield receiver.port


@pytest.mark.parametrize(
    ("text", "caller", "address", "yes"),
    [
        ("PACS@10.0.0.5", "PACS", "10.0.0.5", True),
        ("PACS@10.0.0.5", "PACS  ", "10.0.0.5", True),
        ("PACS@10.0.0.5", "PACS", "10.0.0.6", False),
        ("PACS@10.0.0.5", "OTHER", "10.0.0.5", False),
        ("PACS@10.0.0.5", "pacs", "10.0.0.5", False),
        ("PACS@10.1.0.0/16", "PACS", "10.1.200.3", True),
        ("PACS@10.1.0.0/16", "PACS", "10.2.0.1", False),
        ("PACS@fd00::/8", "PACS", "fd00::7", True),
        ("PACS@10.0.0.5", "PACS", "::ffff:10.0.0.5", True),
        ("PACS@10.0.0.5", "PACS", "::ffff:10.0.0.6", False),
        ("PACS@localhost", "PACS", "127.0.0.1", True),
        ("PACS@no.such.host.invalid", "PACS", "127.0.0.1", False),
    ],
)
def test_the_allow_list_wants_ae_title_and_host(text: str, caller: str, address: str, yes: bool) -> None:
    assert admitted([Peer.parse(text)], caller, address) is yes


@pytest.mark.parametrize("text", ["PACS", "@10.0.0.5", "PACS@", "A" * 17 + "@10.0.0.5", "A\\B@h", "PACS@10.0.0.5/8"])
def test_a_peer_that_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"AE|has host bits"):
        Peer.parse(text)


def test_images_of_a_peer_are_taken_and_kept(site: tuple[State, Files, Metrics]) -> None:
    with port(site, SCANNER) as number:
        assert sent(number, image(1), image(2), image(1)) == [0, 0, 0]
    state, files, _ = site
    study = state.study(STUDY)
    assert study is not None
    assert (study.phase, study.instances) == (Phase.WAITING, 2)
    images = state.received_images(STUDY)
    assert files.missing(STUDY, images) == []
    (kept,) = [f for f in files.images_of(STUDY).iterdir() if pydicom.dcmread(f).SOPInstanceUID.endswith(".2")]
    assert pydicom.dcmread(kept).PixelData == image(2).PixelData


@pytest.mark.parametrize("caller", [{"ae_title": "STRANGER"}, {"called": "ANOTHER"}])
def test_strangers_are_turned_away(site: tuple[State, Files, Metrics], caller: dict[str, str]) -> None:
    with port(site, SCANNER) as number:
        assert sent(number, image(1), **caller) == [-1]
    assert site[0].known() == []


def test_a_peer_at_another_host_is_turned_away(site: tuple[State, Files, Metrics]) -> None:
    with port(site, Peer("SCANNER", "10.0.0.5")) as number:
        assert sent(number, image(1)) == [-1]
    assert site[2].turned_away._value.get() == 1


@pytest.mark.parametrize("where", ["refused", "admitted"])
def test_a_stranger_is_turned_away_although_that_cannot_be_written_down_or_looked_up(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pynetdicom takes an association whose handler raises."""

    def fails(*_: object) -> bool:
        raise GlioserveError(ErrorCode.BRIDGE_STATE, "The disk is full.")

    taken: list[Image] = []

    def take(_: str, image: Image, __: bytes) -> int:
        taken.append(image)
        return 0

    if where == "admitted":
        monkeypatch.setattr("glioserve_pacs.archives.receiver.admitted", fails)
    refused = fails if where == "refused" else lambda _: None
    with Receiver("BRIDGE", "127.0.0.1", 0, [SCANNER], take=take, refused=refused) as receiver:
        assert sent(receiver.port, image(1), ae_title="STRANGER") == [-1]
    assert taken == []


def test_other_objects_are_not_taken(site: tuple[State, Files, Metrics]) -> None:
    document = image(3)
    document.SOPClassUID = EncapsulatedPDFStorage
    with port(site, SCANNER) as number:
        assert sent(number, document, image(1)) == [-2, 0]


def test_an_image_without_uids_is_not_taken(site: tuple[State, Files, Metrics]) -> None:
    content = file_bytes(mr_dataset(StudyInstanceUID=STUDY, SOPInstanceUID="1.2.3"))
    broken = pydicom.dcmread(BytesIO(content.replace(STUDY.encode(), b"../../etc/abcde")))
    with port(site, SCANNER) as number:
        assert sent(number, broken) == [0xC000]
    assert site[0].known() == []


def test_a_full_queue_asks_to_try_again_later(site: tuple[State, Files, Metrics]) -> None:
    other = image(5)
    other.StudyInstanceUID = "1.2.3"
    with port(site, SCANNER, most=1) as number:
        assert sent(number, image(1), other, image(2)) == [0, 0xA700, 0]
    assert site[2].deferred._value.get() == 1


def test_a_disk_that_cannot_be_written_asks_to_try_again_later(
    site: tuple[State, Files, Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Files, "add_image", full)
    with port(site, SCANNER) as number:
        assert sent(number, image(1)) == [0xA700]
    assert site[0].received_images(STUDY) == frozenset()


def test_a_port_for_c_move_takes_only_what_it_was_told_to_expect() -> None:
    kept: list[Image] = []
    wanted = Image(str(image(1).SeriesInstanceUID), f"{STUDY}.1")
    with Receiver("BRIDGE", "127.0.0.1", 0, [SCANNER]) as receiver:
        with receiver.expecting(STUDY, [wanted], lambda one, _: kept.append(one)):
            assert sent(receiver.port, image(1), image(2)) == [0, 0x0124]
        assert sent(receiver.port, image(1)) == [0x0124]
    assert kept == [wanted]


def test_c_echo_is_answered(site: tuple[State, Files, Metrics]) -> None:
    with port(site, SCANNER) as number:
        entity = AE(ae_title="SCANNER")
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", number, ae_title="BRIDGE")
        assert association.send_c_echo().Status == 0
        association.release()


def test_compressed_images_are_taken_as_they_are(site: tuple[State, Files, Metrics]) -> None:
    dataset = image(1)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 a frame \xff\xd9 "])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    with port(site, SCANNER) as number:
        entity = AE(ae_title="SCANNER")
        entity.add_requested_context(MRImageStorage, JPEGLSLossless)
        association = entity.associate("127.0.0.1", number, ae_title="BRIDGE")
        assert association.send_c_store(dataset).Status == 0
        association.release()
    (file,) = site[1].images_of(STUDY).iterdir()
    assert pydicom.dcmread(file).PixelData == dataset.PixelData


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom's, of a refused connection
def test_a_pacs_that_is_not_there_or_rejects_is_told(site: tuple[State, Files, Metrics]) -> None:
    with port(site, SCANNER) as number:
        rejected = Dimse(DimseAccess(Peer("BRIDGE", "127.0.0.1"), number, "STRANGER"))
        with pytest.raises(GlioserveError) as caught:
            rejected.find(Query())
        assert caught.value.code is ErrorCode.PACS_REFUSED
    gone = Dimse(DimseAccess(Peer("BRIDGE", "127.0.0.1"), number, "SCANNER", timeout_s=2))
    with pytest.raises(GlioserveError) as caught:
        gone.find(Query())
    assert caught.value.code is ErrorCode.PACS_UNREACHABLE


def test_every_code_has_its_series_before_the_first_failure() -> None:
    metrics = Metrics()
    for code in ErrorCode:
        assert metrics.registry.get_sample_value("glioserve_pacs_failures_total", {"code": code.token}) == 0
    metrics.failed(ErrorCode.INTERNAL.token)
    assert metrics.registry.get_sample_value("glioserve_pacs_failures_total", {"code": "GLIO-3101"}) == 1
