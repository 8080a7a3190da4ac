"""DICOMweb against a small server of the test's own: credentials, TLS, and every way in which a PACS fails."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import FoundStudy, Image, Query
from glioserve_pacs.archives.dicomweb import PAGE, DicomWeb, WebAccess
from support.network.pki import CLIENT, SERVER, Authority
from support.studies.dicom_files import file_bytes, mr_dataset

STUDY, SERIES = "1.2.3", "1.2.3.4"
MR, PM = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.30"
JSON = "application/dicom+json"


@dataclass
class Web:
    """State of the server: what it answers next, and what it was asked."""

    status: int = 200
    kind: str = JSON
    bodies: list[bytes] = field(default_factory=list)
    """Answers in turn; the last one stays."""
    location: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(web: Web, context: ssl.SSLContext | None = None) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            web.asked.append((self.command, self.path, dict(self.headers)))
            body = web.bodies.pop(0) if len(web.bodies) > 1 else (web.bodies or [b"[]"])[0]
            self.send_response(web.status)
            self.send_header("Content-Type", web.kind)
            self.send_header("Content-Length", str(len(body)))
            if web.location:
                self.send_header("Location", web.location)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    web.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


def items(*values: dict[str, object]) -> bytes:
    """An answer of QIDO-RS."""
    return json.dumps(
        [{tag: {"vr": "UI", "Value": [value]} for tag, value in item.items()} for item in values]
    ).encode()


def instance(number: int, sop_class: str = MR) -> dict[str, object]:
    return {"0020000D": STUDY, "0020000E": SERIES, "00080018": f"{SERIES}.{number}", "00080016": sop_class}


def test_studies_are_found_with_their_number_of_instances() -> None:
    with serving(Web(bodies=[items({"0020000D": STUDY, "00201208": 7}, {"0020000D": "1.2.9"})])) as web:
        found = DicomWeb(WebAccess(web.url)).find(Query(accession_number="A 7"))
    assert found == [FoundStudy(STUDY, 7), FoundStudy("1.2.9")]
    ((_, path, _),) = web.asked
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
        ({"bodies": [items({"0020000D": "../../1"})]}, ErrorCode.PACS_ANSWER_MALFORMED),
        ({"bodies": [b"[{}]"]}, ErrorCode.PACS_ANSWER_MALFORMED),
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


def test_a_result_that_the_pacs_does_not_take_is_told(tmp_path: Path) -> None:
    file = tmp_path / "1.2.dcm"
    file.write_bytes(file_bytes(mr_dataset()))
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0122]}}]}}
    with serving(Web(bodies=[json.dumps(failed).encode()])) as web, pytest.raises(GlioserveError) as caught:
        DicomWeb(WebAccess(web.url)).store([file])
    assert caught.value.code is ErrorCode.PACS_REFUSED
    assert "0x0122" in str(caught.value)


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
