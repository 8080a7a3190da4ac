"""Each program of examples/clients, in its own language: good and bad studies, TLS, tokens, and what is sent again."""

import json
import re
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import SimpleITK

from glioserve_client.testing import WIRE_ERRORS
from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.errors.row import Retry
from glioserve_phantom.dicom import dicom_files
from support.example_clients import EXAMPLES, SOURCES, program
from support.network.gateways import running_gateway
from support.network.pki import SERVER, Authority
from support.results.answers import small_answer
from support.scripts import script
from support.server.fake_server import Answer, Fail, FakeServer

pytestmark = [pytest.mark.triton, pytest.mark.long]
COMPILED = ("cpp", "java")
KEY = "k" * 40


def _languages(*names):
    return [pytest.param(name, marks=pytest.mark.slow if name in COMPILED else ()) for name in names]


every_language = pytest.mark.parametrize("language", _languages(*SOURCES), indirect=True)
every_grpc_language = pytest.mark.parametrize("language", _languages("python", "node", *COMPILED), indirect=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Programs by language, each built once."""
    return {}


@pytest.fixture
def language(request, built, tmp_path_factory):
    name = request.param
    if name not in built:
        built[name] = program(name, tmp_path_factory.mktemp(name))
    return name


@pytest.fixture
def run(built, language):
    return built[language].run


def write_study(folder, files):
    folder.mkdir()
    for number, content in enumerate(files):
        (folder / f"{number:04d}.dcm").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory, files):
    return write_study(tmp_path_factory.mktemp("good") / "study", files)


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("small") / "study", [b"one", b"another"])


@pytest.fixture(scope="module")
def identified(phantom):
    return dicom_files(phantom, identified=True)[:3]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, server):
    """TLS and a key, as an integrator meets a server."""
    folder = tmp_path_factory.mktemp("gateway")
    authority = Authority(folder, "authority")
    certificate = authority.issue("server", hosts=("127.0.0.1",), usage=SERVER)
    (folder / "keys").write_text(f"pacs:{KEY}\n")
    (folder / "token").write_text(f"{KEY}\n")
    tls = {"certificate": str(certificate), "private_key": str(certificate.with_suffix(".key"))}
    with running_gateway(folder, server.grpc_url, tls=tls, api_keys_file=str(folder / "keys"), wait=False) as running:
        yield running.url, ("--tls-ca", str(authority.file), "--token-file", str(folder / "token"))


def assert_is(done, heatmap, wanted):
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"score {np.float32(wanted.score):.6f}"
    assert lines[1] == f"label {wanted.label}"
    assert lines[2] == "probabilities {necrosis:.6f} {recurrence:.6f}".format(**wanted.probabilities)
    assert lines[3:-1] == [f"warning {warning}" for warning in wanted.report.warnings]
    assert lines[-1] == "heatmap {} {} {}".format(*wanted.heatmap.voxels.shape)
    image = SimpleITK.ReadImage(str(heatmap))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), wanted.heatmap.voxels)
    directions = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    np.testing.assert_allclose(directions, wanted.heatmap.lps_from_voxel[:3, :3], atol=1e-9)
    np.testing.assert_allclose(image.GetOrigin(), wanted.heatmap.lps_from_voxel[:3, 3], atol=1e-9)


@every_grpc_language
def test_a_study_is_answered_through_a_gateway_by_tls_and_key(run, gateway, study, answered, tmp_path):
    url, options = gateway
    assert_is(run(study, url, *options, "--heatmap", str(tmp_path / "h.nrrd")), tmp_path / "h.nrrd", answered)


@pytest.mark.parametrize("language", ["curl"], indirect=True)
def test_a_study_is_answered_over_http(run, server, study, answered, tmp_path):
    done = run(study, server.http_url, "--heatmap", str(tmp_path / "h.nrrd"))
    assert_is(done, tmp_path / "h.nrrd", answered)


@every_language
def test_bad_studies_are_refused_with_their_codes(run, language, server, files, identified, tmp_path):
    url = server.http_url if language == "curl" else server.grpc_url
    bad = {
        "GLIO-1103": write_study(tmp_path / "empty", []),
        "GLIO-1203": write_study(tmp_path / "identified", identified),
        "GLIO-1202": write_study(tmp_path / "truncated", [files[0], files[1][:-100]]),
    }
    for code, folder in bad.items():
        done = run(folder, url)
        assert (done.returncode, done.stdout) == (4, ""), done
        assert f"[{code}]" in done.stderr
        assert "PHANTOM" not in done.stderr


@every_language
def test_a_server_that_is_not_there_is_asked_until_the_deadline(run, language, small_study):
    url = "http://127.0.0.1:1" if language == "curl" else "127.0.0.1:1"
    done = run(small_study, url, "--timeout-s", "1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr


@every_grpc_language
def test_a_caller_without_a_key_is_told_so_once(run, gateway, small_study):
    url, (_, authority, *_) = gateway
    done = run(small_study, url, "--tls-ca", authority)
    assert done.returncode == 5
    assert "GLIO-4109" in done.stderr


REFUSED = {
    "the study": (Fail("INVALID_ARGUMENT", "in ensemble 'glioma', [GLIO-1303] The t1 series has 2 slices."), 4),
    "too large a message": (Fail("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)"), 4),
    "the caller": (Fail("PERMISSION_DENIED", "[GLIO-4110] Only the ensemble may be asked."), 5),
    "a fault": (Fail("INTERNAL", "[GLIO-3101] Incident 7."), 1),
}


@every_grpc_language
def test_a_refusal_that_stays_one_is_not_asked_again(run, small_study):
    for step, code in REFUSED.values():
        with FakeServer(step) as fake:
            done = run(small_study, fake.url)
        assert (done.returncode, len(fake.requests)) == (code, 1), done
        assert step.details in done.stderr


@every_grpc_language
def test_a_study_is_sent_again_where_that_helps(run, small_study):
    """The server's clock is ahead first, so that the deadline by the clock is not stated any more."""
    steps = (
        Fail("CANCELLED", "in ensemble 'glioma', [GLIO-3104] The deadline passed."),
        Fail("UNAVAILABLE", "Exceeds maximum queue size"),
        Fail("INTERNAL", "Failed to increase the shared memory pool size for key '/glioserve' to 9 bytes."),
        Answer(small_answer(label="", abstained_because=("The brain is small.",))),
    )
    with FakeServer(*steps) as fake:
        done = run(small_study, fake.url, "--timeout-s", "60")
    assert done.returncode == 0, done.stderr
    assert "label none: The brain is small." in done.stdout
    first, *others = fake.requests
    assert first.parameters.keys() == {"heatmap", "deadline_unix_ms"}
    assert [request.parameters for request in others] == 3 * [{"heatmap": False}]
    for request in fake.requests:
        assert request.outputs == ("SCORE", "LABEL", "PROBABILITIES", "REPORT")
        assert list(request.inputs["INSTANCES"]) == [b"one", b"another"]
        assert 0 < request.timeout_us <= 60e6
        assert request.remaining_s <= 60
    assert others[-1].timeout_us < first.timeout_us


@every_grpc_language
def test_another_major_version_is_not_read(run, small_study):
    answer = small_answer()
    report = {**json.loads(answer["REPORT"][0]), "contract_version": "3.0.0"}
    with FakeServer(Answer({**answer, "REPORT": np.array([json.dumps(report).encode()], object)})) as fake:
        done = run(small_study, fake.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "contract 3.0.0" in done.stderr


def test_the_pages_lines_for_curl_work(server, tmp_path):
    """docs/wire.md shows them for one file; this one is not DICOM, so that the server says so of its bytes."""
    program("curl", tmp_path)
    page = (EXAMPLES.parents[1] / "docs" / "wire.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```bash\n(.*?)```", page.partition("\n## HTTP\n")[2].partition("\n## ")[0], re.DOTALL)
    (tmp_path / "study.zip").write_bytes(b"no archive")
    done = subprocess.run(
        ["bash", "-euc", lines.replace("http://127.0.0.1:8000", server.http_url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "[GLIO-1201] File 1 of 1 is not DICOM" in json.loads(done.stdout)["error"]


@contextmanager
def fake_https(folder, steps):
    """An HTTPS server that answers in turn; its URL, its authority, and the requests that it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            status, answer = steps[min(len(requests), len(steps)) - 1]
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    authority = Authority(folder, "authority")
    certificate = authority.issue("server", hosts=("127.0.0.1",), usage=SERVER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}", str(authority.file), requests
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("language", ["curl"], indirect=True)
def test_over_https_a_study_is_sent_again_where_that_helps(run, small_study, tmp_path):
    outputs = small_answer(label="", abstained_because=("The brain is small.",))
    data = {name: [v.decode() if isinstance(v, bytes) else float(v) for v in outputs[name].ravel()] for name in (
        "SCORE", "LABEL", "PROBABILITIES", "REPORT",
    )}  # fmt: skip
    answer = {"outputs": [{"name": n, "datatype": "-", "shape": [len(v)], "data": v} for n, v in data.items()]}
    refusal = {"error": "in ensemble 'glioma', [GLIO-1303] The t1 series has 2 slices."}
    steps = [(400, {"error": "[GLIO-3104] The deadline passed."}), (503, {"error": "full"}), (200, answer)]
    (tmp_path / "token").write_text(KEY)
    token = ("--token-file", str(tmp_path / "token"))
    with fake_https(tmp_path, steps) as (url, authority, requests):
        done = run(small_study, url, "--tls-ca", authority, *token, "--timeout-s", "60")
        untrusted = run(small_study, url)
    assert done.returncode == 0, done.stderr
    assert "label none: The brain is small." in done.stdout
    assert len(requests) == 3
    stated = []
    for headers, content in requests:
        assert headers["authorization"] == f"Bearer {KEY}"
        length = int(headers["Inference-Header-Content-Length"])
        head, tensor = json.loads(content[:length]), content[length:]
        assert tensor == b"\3\0\0\0one\7\0\0\0another"
        assert head["inputs"][0]["shape"] == [2]
        assert head["parameters"]["heatmap"] is False
        stated.append("deadline_unix_ms" in head["parameters"])
    assert stated == [True, False, False]
    assert untrusted.returncode == 5
    with fake_https(tmp_path, [(400, refusal)]) as (url, authority, requests):
        assert run(small_study, url, "--tls-ca", authority).returncode == 4
    assert len(requests) == 1


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_codes_that_a_program_retries_are_those_of_the_table(source):
    text = (EXAMPLES / source).read_text(encoding="utf-8")
    listed = re.search(r"retryable\b.*?((?:\"?GLIO-\d{4}[\s\",]*)+)", text, re.IGNORECASE | re.DOTALL)
    assert listed
    on_the_wire = {c.token for c in WIRE_ERRORS if c.row.retry is Retry.YES}
    assert set(re.findall(r"GLIO-\d{4}", listed[1])) == on_the_wire
    (version,) = re.findall(r"(?i)\bk?contract\s*=\s*\"?(\d+)", text)
    assert version == CONTRACT_VERSION.split(".")[0]


@pytest.mark.parametrize("language", COMPILED)
def test_the_packages_that_a_makefile_names_are_those_it_is_built_with(language):
    comment = (EXAMPLES / language / "Makefile").read_text(encoding="utf-8").partition("PROTO")[0]
    named = set(re.findall(r"\b(?:lib|protobuf-)[\w.+-]+", comment))
    assert "protobuf-compiler" in named
    assert named <= set(script("get_debian").TREES[f"grpc-{language}"])
