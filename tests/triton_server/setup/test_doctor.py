"""``glioserve doctor``: what it finds, what it advises, when it fails, and what it keeps to itself."""

import json
import socket
from collections import namedtuple
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from glioserve_cli import main
from glioserve_cli.diagnosis.doctor import as_text
from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.install import install_advice
from glioserve_contract.records.brain_model import BRAIN_MODELS_VARIABLE
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_triton.diagnosis import packages, server
from glioserve_triton.diagnosis.examination import examine
from glioserve_triton.diagnosis.findings import Finding
from glioserve_triton.process import locate
from support.models.brain_models import SYNTHSTRIP_LIKE, distance_network, write_brain_model
from support.models.recipes import fake_export, tiny_recipe
from support.server.triton import running_server

Usage = namedtuple("Usage", "total used free")


def _found(**arguments: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(**arguments)}  # type: ignore[arg-type]


def _no_tritonserver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locate, "CONTAINER_BINARY", tmp_path / "none")
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda name: None)


def test_a_machine_that_can_serve_passes(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    assert main.main(["doctor", "--repository", str(repository), "--profile", "batching"]) == 0
    text = capsys.readouterr().out
    assert f"contract {CONTRACT_VERSION}" in text
    assert "ok    tritonserver" in text
    assert "all found; Python stub for" in text
    assert "tiny, resnet10, t1+t1ce+t2, weights sha256:" in text
    assert text.splitlines()[-1].startswith("0 failed")


def test_json_has_the_same_and_the_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main.main(["doctor", "--json", "--repository", str(tmp_path / "none")]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] is True
    assert {f["name"]: f["state"] for f in report["findings"]}["glioserve"] == "ok"
    failed = [finding for finding in report["findings"] if finding["state"] == "fail"]
    assert [finding["area"] for finding in failed] == ["repository"]
    assert "GLIO-5108" in failed[0]["found"]
    assert failed[0]["action"]


def test_a_client_only_install_is_not_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _no_tritonserver(monkeypatch, tmp_path)
    names = ("glioserve", "glioserve-client")
    required = [Requirement(text) for name in names for text in metadata.requires(name) or []]
    base = {requirement.name.lower() for requirement in required if requirement.marker is None}
    real = metadata.version

    def version(name: str) -> str:
        if name.lower() not in base | {"glioserve"}:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(packages.metadata, "version", version)
    findings = _found()
    assert findings["base"].state == "ok"
    assert findings["[serve]"] == Finding("packages", "[serve]", "--", f"not installed ({install_advice('serve')})")
    assert findings["tritonserver"].state == "--"
    assert "/dev/shm" not in findings  # of no matter to one who only calls
    assert {finding.state for finding in findings.values()} <= {"ok", "--"}


def test_a_base_package_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version_of", lambda name: None if name == "pydicom" else "1.0")
    base = _found()["base"]
    assert (base.state, base.action) == ("fail", install_advice())
    assert base.found.endswith("lacks pydicom")


def test_a_kernel_that_was_not_built_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("glioserve_preprocess.kernel.library.FOLDER", tmp_path)
    (finding,) = [f for f in examine() if f.name == "kernels"]
    assert finding.state == "fail"
    assert "mutual_information" in finding.found


def test_brain_models_are_told_with_the_digest_that_a_recipe_must_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "hospital"
    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, str(site))
    missing = _found()[BRAIN_MODELS_VARIABLE]
    assert missing.state == "fail"
    assert "mount" in missing.action
    extraction = write_brain_model(site, "strip.onnx", distance_network(), SYNTHSTRIP_LIKE)
    write_brain_model(site, "odd.onnx", b"", SYNTHSTRIP_LIKE, orientation="LLL")
    (site / "alone.onnx").write_bytes(b"")
    (site / "glioserve-brain.onnx").write_bytes(b"")
    (site / "glioserve-brain.json").write_text(json.dumps(SYNTHSTRIP_LIKE))
    findings = _found()
    assert findings["strip.onnx"].state == "ok"
    assert (
        findings["strip.onnx"].found == f"of the site: synthstrip-like, 4 mm, signed_distance_mm, {extraction.digest}"
    )
    assert findings["odd.onnx"].state == "fail"
    assert "odd.json: card.orientation:" in findings["odd.onnx"].found
    assert findings["alone.onnx"].state == "fail"
    assert findings["glioserve-brain.onnx"].state == "warn"
    assert BRAIN_MODELS_VARIABLE not in findings


def test_the_brain_model_of_a_repository_must_be_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path
) -> None:
    ours = _found(repository=repository)["brain extraction"]
    assert (ours.state, ours.found) == ("ok", "glioserve-brain.onnx, with the digest of the recipe")
    site = tmp_path / "site"
    extraction = write_brain_model(site, "strip.onnx", distance_network(), SYNTHSTRIP_LIKE)
    version = repository / "classifier" / "1"
    model = (version / "model.onnx").read_bytes()
    fake_export(version, replace(tiny_recipe(), brain_extraction=extraction), model=model)
    missing = _found(repository=repository)["brain extraction"]
    assert missing.state == "fail"
    assert "GLIO-5113" in missing.found
    assert BRAIN_MODELS_VARIABLE in missing.action
    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, str(site))
    assert _found(repository=repository)["brain extraction"].state == "ok"
    (site / "strip.json").write_text("{}")
    assert "GLIO-5114" in _found(repository=repository)["brain extraction"].found
    fake_export(version, replace(tiny_recipe(), brain_extraction=BrainExtraction("classical")), model=model)
    assert _found(repository=repository)["brain extraction"].found == "classical, needs no model"


def test_half_an_extra_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version_of", lambda name: None if name == "nvidia-pytriton" else "1.0")
    serve = _found()["[serve]"]
    assert (serve.state, serve.action) == ("warn", install_advice("serve"))
    assert "lacks nvidia-pytriton" in serve.found


def test_a_repository_needs_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> None:
    _no_tritonserver(monkeypatch, tmp_path)
    finding = _found(repository=repository)["tritonserver"]
    assert finding.state == "fail"
    assert install_advice("serve") in finding.action


def test_a_corrupt_version_is_found(repository: Path) -> None:
    (repository / "classifier" / "1" / "model.onnx").write_bytes(b"damaged on the way")
    finding = _found(repository=repository)[str(repository)]
    assert finding.state == "fail"
    assert "[GLIO-5103] classifier/1: model.onnx is not the file the manifest names." in finding.found


def test_little_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.shutil, "disk_usage", lambda path: Usage(64 << 20, 0, 64 << 20))
    finding = _found()["/dev/shm"]
    assert finding.state == "warn"
    assert finding.found.startswith("64 MiB, 64 MiB free")
    assert "--shm-size" in finding.action


def test_no_shared_memory_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "SHARED_MEMORY", tmp_path / "none")
    assert _found()[str(tmp_path / "none")].state == "fail"


def test_what_killed_servers_left_in_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "SHARED_MEMORY", tmp_path)
    (tmp_path / "glioserve-run-x-1").write_bytes(bytes(3 << 20))
    (tmp_path / "somebody-else").write_bytes(bytes(1 << 20))
    assert "3 MiB held by servers" in _found()[str(tmp_path)].found


def test_a_temporary_folder_without_exec_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not server._is_noexec(Path("/"))
    monkeypatch.setattr(server, "_is_noexec", lambda folder: True)
    finding = _found()["temporary folder"]
    assert finding.state == "fail"
    assert "TMPDIR" in finding.action


def test_a_standard_port_in_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setattr(server, "STANDARD_PORTS", {"grpc": listener.getsockname()[1]})
        finding = _found()["standard ports"]
    assert finding.state == "warn"
    assert "(grpc)" in finding.found
    assert "--grpc-port" in finding.action


def test_nobody_at_the_address_fails() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{unused.getsockname()[1]}"
        finding = _found(url=url)[url]
    assert finding.state == "fail"
    assert finding.action


@pytest.mark.triton
def test_a_server_that_answers_and_one_that_does_not_keep_the_contract(repository: Path) -> None:
    with running_server(repository) as running:
        findings = _found(url=running.grpc_url)
        assert findings[running.grpc_url].state == "warn"  # the embedded server is below both floors
        assert findings[running.grpc_url].found.startswith("Triton 2.51.0 (24.10) has 24 known holes")
        assert findings["glioma"].state == "fail"  # the tiny models have toy tensors
        assert "lacks FLAIR, FLAIR_AFFINE, HEATMAP" in findings["glioma"].found
        assert running.drain()
        assert _found(url=running.grpc_url)["glioma"].found == "not ready"


def test_nothing_of_the_environment_and_no_home_is_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    monkeypatch.setenv("HOME", str(tmp_path))
    text = as_text(list(examine(repository=repository)))
    assert "hush" not in text
    assert str(tmp_path) not in text
    assert "~/repository" in text


def test_the_text_puts_the_advice_below_what_is_wrong() -> None:
    findings = [Finding("server", "a", "ok", "fine"), Finding("server", "longer", "fail", "broken", "mend it")]
    assert as_text(findings).splitlines() == [
        "server",
        "  ok    a       fine",
        "  fail  longer  broken",
        "                -> mend it",
        "",
        "1 failed, 0 warnings",
    ]


def test_not_installed_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "version", version)
    assert _found()["glioserve"].state == "fail"


def test_openvino_is_needed_by_who_serves_with_it(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setattr(packages, "version_of", lambda name: None if name == "openvino" else "1.0")
    (repository / "classifier" / "configs" / "own.pbtxt").write_text('backend: "openvino"')
    assert _found(repository=repository)["openvino"].state == "--"
    missing = _found(repository=repository, profile="own")["openvino"]
    assert (missing.state, missing.action) == ("fail", "pip install openvino")


def test_a_failure_in_one_place_hides_none_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version_of", lambda name: None if name == "onnxruntime" else "1.0")
    monkeypatch.setattr(locate, "_not_found", lambda file, environment: ["libz.so.1"])
    findings = _found()
    assert (findings["libraries"].state, findings["onnxruntime"].state) == ("fail", "fail")
    assert "apt-get install zlib1g" in findings["libraries"].found
    assert findings["onnxruntime"].action == "pip install onnxruntime"
    assert "/dev/shm" in findings
