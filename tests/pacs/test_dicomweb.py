"""DICOMweb against a small server of the test's own: credentials, TLS, and every way in which a PACS fails."""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import FoundStudy, Image, Query
from glioserve_pacs.archives.dicomweb import PAGE, DicomWeb, WebAccess
from support.network.pki import CLIENT, SERVER, Authority
from support.pacs.web import MR, PM, SERIES, STUDY, Web, instance, items, serving
from support.studies.dicom_files import file_bytes, mr_dataset


def test_studies_are_found_with_their_number_of_instances() -> None:
    number = {"00080050": "A 7"}
    listed = items({"0020000D": STUDY, "00201208": 7, **number}, {"0020000D": "1.2.9", **number})
    with serving(Web(bodies=[listed, b"[]"])) as web:
        found = DicomWeb(WebAccess(web.url)).find(Query(accession_number="A 7"))
    assert found == [FoundStudy(STUDY, 7), FoundStudy("1.2.9")]
    (_, path, _), _ = web.asked
    assert path.startswith("/dicom-web/studies?")
    assert "AccessionNumber=A" in path


def test_only_mr_images_are_listed_page_by_page() -> None:
    first = items(*(instance(number) for number in range(PAGE)))
    with serving(Web(bodies=[first, items(instance(PAGE), instance(PAGE + 1, PM))])) as web:
        images = DicomWeb(WebAccess(web.url)).images(STUDY)
    assert len(images) == PAGE + 1
    assert Image(SERIES, f"{SERIES}.{PAGE}") in images
    assert f"offset={PAGE}" in web.asked[1][1]


def test_images_are_fetched_in_the_pacs_own_transfer_syntax() -> None:
    content = file_bytes(mr_dataset(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=f"{SERIES}.1"))
    other = file_bytes(mr_dataset(SOPInstanceUID=f"{SERIES}.2"))
    parts = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in (content, other))
    kept: dict[Image, bytes] = {}
    with serving(Web(kind='multipart/related; type="application/dicom"; boundary=x', bodies=[parts + b"--x--"])) as web:
        wanted = Image(SERIES, f"{SERIES}.1")
        DicomWeb(WebAccess(web.url)).fetch(STUDY, [wanted], kept.__setitem__)
    assert list(kept) == [wanted]
    from glioserve_client.dicomfile import read_dicom_file

    before, after = (read_dicom_file(c, "", "File 1").instance for c in (content, kept[wanted]))
    assert (before.pixels, before.transfer_syntax) == (after.pixels, after.transfer_syntax)
    assert "transfer-syntax=*" in web.asked[0][2]["Accept"]


def test_a_study_that_is_not_there_has_no_images() -> None:
    with serving(Web(status=404)) as web:
        pacs = DicomWeb(WebAccess(web.url))
        assert pacs.images(STUDY) == frozenset()
        assert pacs.missing(STUDY, ["1.2"]) == {"1.2"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 401}, ErrorCode.PACS_REFUSED),
        ({"status": 403}, ErrorCode.PACS_REFUSED),
        ({"status": 500}, ErrorCode.PACS_UNREACHABLE),
        ({"status": 503}, ErrorCode.PACS_UNREACHABLE),
        ({"status": 302, "location": "http://127.0.0.1:1/elsewhere"}, ErrorCode.PACS_REFUSED),
        ({"bodies": [b"<html>Log in"], "kind": "text/html"}, ErrorCode.PACS_ANSWER_MALFORMED),
        ({"bodies": [b"{"]}, ErrorCode.PACS_ANSWER_MALFORMED),
        ({"bodies": [b"3"]}, ErrorCode.PACS_ANSWER_MALFORMED),
    ],
)
def test_a_pacs_that_fails_is_told_by_a_code(answer: dict[str, object], code: ErrorCode) -> None:
    with serving(Web(**answer)) as web, pytest.raises(GlioserveError) as caught:  # type: ignore[arg-type]
        DicomWeb(WebAccess(web.url)).find(Query(study_instance_uid=STUDY))
    assert caught.value.code is code
    assert STUDY not in str(caught.value)


def test_a_pacs_that_is_not_there_is_told() -> None:
    with serving(Web()) as web:
        pass
    with pytest.raises(GlioserveError) as caught:
        DicomWeb(WebAccess(web.url)).find(Query())
    assert caught.value.code is ErrorCode.PACS_UNREACHABLE


def failure(*reasons: object) -> bytes:
    """STOW-RS' answer of which instances were not stored."""
    failed = [{"00081197": {"vr": "US", "Value": [reason]}} for reason in reasons]
    return json.dumps({"00081198": {"vr": "SQ", "Value": failed}}).encode()


@pytest.mark.parametrize(
    ("answer", "refusals"),
    [
        ({"bodies": [failure(0x0122)]}, ("0x0122",)),
        ({"bodies": [failure(0x0122, 0xC000)]}, ("0x0122", "0xC000")),
        ({"bodies": [failure(0x0122)], "status": 202}, ("0x0122",)),
        ({"bodies": [b'{"00081198": {"vr": "SQ", "Value": [{}]}}']}, ("no reason given",)),
        ({"bodies": [failure(0x0122)], "status": 409}, ("HTTP 409", "HTTP 409")),
        ({"bodies": [b"{}"]}, ()),
        ({"bodies": [b""]}, ()),
        ({"bodies": [b"stored"], "kind": "text/plain"}, ()),  # whether it is there, a query tells
    ],
)
def test_results_that_the_pacs_does_not_take_are_told(
    tmp_path: Path, answer: dict[str, object], refusals: tuple[str, ...]
) -> None:
    files = [tmp_path / "1.2.dcm", tmp_path / "1.3.dcm"]
    for file in files:
        file.write_bytes(file_bytes(mr_dataset()))
    with serving(Web(**answer)) as web:  # type: ignore[arg-type]
        assert DicomWeb(WebAccess(web.url)).store(files) == refusals


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"bodies": [failure(0xA700)]}, ErrorCode.PACS_UNREACHABLE),
        ({"bodies": [failure("much")]}, ErrorCode.PACS_ANSWER_MALFORMED),
        ({"bodies": [b"[1]"]}, ErrorCode.PACS_ANSWER_MALFORMED),
        ({"bodies": [b"<NativeDicom"], "kind": "application/dicom+xml"}, ErrorCode.PACS_ANSWER_MALFORMED),
        ({"status": 413}, ErrorCode.PACS_REFUSED),
        ({"status": 503}, ErrorCode.PACS_UNREACHABLE),
    ],
)
def test_a_pacs_that_cannot_store_is_told_by_a_code(tmp_path: Path, answer: dict[str, object], code: ErrorCode) -> None:
    file = tmp_path / "1.2.dcm"
    file.write_bytes(file_bytes(mr_dataset()))
    with serving(Web(**answer)) as web, pytest.raises(GlioserveError) as caught:  # type: ignore[arg-type]
        DicomWeb(WebAccess(web.url)).store([file])
    assert caught.value.code is code


@pytest.mark.parametrize(
    "odd",
    [{"0020000D": {"Value": ["../../1"]}}, {"0020000D": {"Value": [None]}}, {"0020000D": []}, {}, [], "text", 7, None],
)
def test_a_study_that_cannot_be_asked_for_keeps_no_other_one_from_being_found(odd: object) -> None:
    listed = json.dumps([odd, *json.loads(items({"0020000D": STUDY, "00201208": "many"}))]).encode()
    with serving(Web(bodies=[listed, b"[]"])) as web:
        assert DicomWeb(WebAccess(web.url)).find(Query()) == [FoundStudy(""), FoundStudy(STUDY)]


@pytest.mark.parametrize("odd", [{"00080016": {"Value": [MR]}}, {**json.loads(items(instance(1)))[0], "00080018": 3}])
def test_an_image_without_uids_makes_its_study_wait(odd: object) -> None:
    with serving(Web(bodies=[json.dumps([odd]).encode(), b"[]"])) as web, pytest.raises(GlioserveError) as caught:
        DicomWeb(WebAccess(web.url)).images(STUDY)
    assert caught.value.code is ErrorCode.PACS_ANSWER_MALFORMED


@pytest.mark.parametrize("query", [Query(accession_number="A7"), Query(study_instance_uid=STUDY)])
def test_a_pacs_that_does_not_know_a_filter_names_no_other_study(query: Query) -> None:
    listed = items(
        {"0020000D": "1.2.9", "00080050": "A8"}, {"0020000D": STUDY, "00080050": "A7 "}, {"0020000D": "1.2.10"}
    )
    with serving(Web(bodies=[listed])) as web:
        assert DicomWeb(WebAccess(web.url)).find(query) == [FoundStudy(STUDY)]


@pytest.mark.parametrize("most", [7, 3 * PAGE])
def test_every_image_is_listed_however_long_a_pacs_makes_its_pages(most: int) -> None:
    """One PACS gives fewer results than it is asked for; another knows no pages and gives all of them each time."""
    everything = [instance(number) for number in range(20 if most < PAGE else PAGE + 20)]

    def page(path: str) -> bytes:
        offset = int(re.findall(r"offset=(\d+)", path)[0]) if most < PAGE else 0
        return items(*everything[offset : offset + most])

    with serving(Web(page=page)) as web:
        assert len(DicomWeb(WebAccess(web.url)).images(STUDY)) == len(everything)
        assert len(web.asked) < 6


@pytest.mark.parametrize(
    "body",
    [b"", b"--x\r\n\r\nnot DICOM\r\n--x--", b"--x\r\n\r\n" + bytes(128) + b"DICM\xff\xff\xff\xffgarbage\r\n--x--"],
)
def test_images_that_are_not_dicom_are_told(body: bytes) -> None:
    kept: list[Image] = []
    with serving(Web(kind='multipart/related; type="application/dicom"; boundary=x', bodies=[body])) as web:
        try:
            DicomWeb(WebAccess(web.url)).fetch(STUDY, [Image(SERIES, "1.2")], lambda image, _: kept.append(image))
        except GlioserveError as error:
            assert error.code is ErrorCode.PACS_ANSWER_MALFORMED  # noqa: PT017 - or nothing came
    assert kept == []


def test_tls_with_credentials_and_the_bridges_own_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    server = authority.issue("server", hosts=["127.0.0.1"], usage=SERVER)
    own = authority.issue("bridge", usage=CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server.with_suffix(".key"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(Web(), context) as web:
        access = WebAccess(web.url, authority.file, own, own.with_suffix(".key"), "Bearer abc")
        assert DicomWeb(access).find(Query()) == []
        assert web.asked[0][2]["Authorization"] == "Bearer abc"
        with pytest.raises(GlioserveError) as caught:  # an authority that the system does not know
            DicomWeb(WebAccess(web.url, None, own, own.with_suffix(".key"))).find(Query())
        assert caught.value.code is ErrorCode.PACS_REFUSED


@pytest.mark.parametrize(
    "access",
    [
        {"url": "ftp://pacs/dicom-web"},
        {"url": "http://user:secret@pacs/dicom-web"},
        {"url": "http://pacs/dicom-web", "authorization": "Bearer abc"},
        {"url": "https://pacs/dicom-web", "certificate": Path("a.pem")},
    ],
)
def test_unsafe_or_malformed_settings_are_refused(access: dict[str, object]) -> None:
    with pytest.raises(GlioserveError) as caught:
        WebAccess(**access)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.INVALID_BRIDGE
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_secrets_are_not_in_representations() -> None:
    assert "abc" not in repr(WebAccess("https://pacs/dicom-web", authorization="Bearer abc"))
