"""Known holes: the table, the versions it judges, the servers it refuses, and the script that brings it up to date."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.diagnosis.server import server_findings
from glioserve_triton.process.floors import (
    TABLE,
    check_exposure,
    floors,
    installed_version,
    release_number,
    standing_of,
)
from glioserve_triton.process.locate import Installation
from support.scripts import script
from support.server.serve import serving

refresh = script("refresh_triton_floors")


def test_the_table_is_sound() -> None:
    table = floors()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", table.dated)
    assert len({hole.cve for hole in table.holes}) == len(table.holes) > 20
    assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}", hole.cve) and hole.impact for hole in table.holes)
    assert max((hole.fixed_in for hole in table.holes), key=release_number) == table.security
    names = [name for _, name in table.releases]
    assert [version for version, _ in table.releases] == sorted(version for version, _ in table.releases)
    assert names == sorted(names, key=release_number)
    assert {table.security, table.function} <= set(names)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("2.51.0", "24.10"),
        ("2.51.3", "24.10"),
        ("2.59.0", "25.06"),
        ("2.59.1", "25.07"),
        ("2.71.0", "26.07"),
        ("2.75.0", "26.11"),
        ("2.99.0", "26.11"),
        ("1.15.0", "0.0"),
        ("2.75.0dev", None),
        ("main", None),
    ],
)
def test_a_version_is_a_release(version: str, release: str | None) -> None:
    assert floors().release_of(version) == release


@pytest.mark.parametrize(
    ("version", "security", "function"),
    [
        ("2.51.0", True, True),
        ("2.70.0", True, True),
        ("2.71.0", False, True),
        ("2.72.0", False, False),
        ("2.75.0", False, False),
        (None, False, False),
    ],
)
def test_where_a_version_stands(version: str | None, security: bool, function: bool) -> None:
    standing = standing_of(version)
    assert (standing.below_security, standing.below_function) == (security, function)
    assert bool(standing.open_holes) == security
    assert (standing.fault is None) == (version is not None and not function)


def test_a_hole_is_open_until_its_release() -> None:
    cves = {hole.cve for hole in standing_of("2.59.1").open_holes}
    assert "CVE-2025-23310" not in cves  # closed in 25.07
    assert "CVE-2025-23316" in cves  # closed in 25.08
    assert len(standing_of("2.51.0").open_holes) == len(floors().holes)


def installation(tmp_path: Path, origin: str, version: str | None = None) -> Installation:
    binary = tmp_path / "bin" / "tritonserver"
    if version is not None:
        (tmp_path / "TRITON_VERSION").write_text(f"{version}\n")
    return Installation(binary, origin, tmp_path, None, tmp_path / "stub", ())


OLD, MIDDLE, NEW = "2.51.0", "2.71.0", "2.75.0"


@pytest.mark.parametrize(
    ("origin", "version", "loopback", "served"),
    [
        ("wheel", None, True, True),
        ("wheel", OLD, True, True),
        ("wheel", None, False, False),
        ("wheel", OLD, False, False),
        ("wheel", NEW, False, True),
        ("given", OLD, True, True),
        ("given", OLD, False, False),
        ("given", None, False, True),
        ("given", MIDDLE, False, True),
        ("container", OLD, True, False),
        ("container", OLD, False, False),
        ("container", None, False, True),
        ("container", MIDDLE, False, True),
        ("container", NEW, False, True),
    ],
)
def test_which_server_a_network_may_reach(
    tmp_path: Path, origin: str, version: str | None, loopback: bool, served: bool
) -> None:
    found = installation(tmp_path, origin)
    check_exposure(found, version, loopback=loopback, allowed=True)
    if served:
        check_exposure(found, version, loopback=loopback, allowed=False)
        return
    with pytest.raises(GlioserveError) as caught:
        check_exposure(found, version, loopback=loopback, allowed=False)
    assert caught.value.code is ErrorCode.KNOWN_HOLES
    assert "--allow-network-with-known-cves" in str(caught.value)
    if version:
        assert f"{version} (24.10) has {len(floors().holes)} known holes" in str(caught.value)


def test_a_container_writes_its_version_down(tmp_path: Path) -> None:
    assert installed_version(installation(tmp_path, "container", "2.75.0")) == "2.75.0"
    (tmp_path / "TRITON_VERSION").write_bytes(b"\xff\xfe")
    assert installed_version(installation(tmp_path, "container")) is None
    assert installed_version(installation(tmp_path / "elsewhere", "wheel")) is None


# --- the script ---


def bulletin(cve: str, fixed: list[str], affected: str = "0.0-26.11", product: str = "Triton Inference Server") -> dict:
    """Return a bulletin as NVIDIA writes one: versions are products, and a hole names them by their identifiers."""
    stem = f"linux_{product.lower().replace(' ', '_')}"
    names = {f"{stem}_{name.replace('.', '_')}": name for name in (*fixed, affected)}
    versions = [
        {"category": "product_version", "name": product, "product": {"name": name, "product_id": identifier}}
        for identifier, name in names.items()
    ]
    return {
        "document": {"csaf_version": "2.0", "tracking": {"current_release_date": "2026-12-24T00:00:00Z"}},
        "product_tree": {"branches": [{"name": "NVIDIA", "branches": [{"name": "Linux", "branches": versions}]}]},
        "vulnerabilities": [
            {
                "cve": cve,
                "notes": [{"title": "Impacts", "text": "Denial of service"}],
                "product_status": {"fixed": list(names)[:-1], "known_affected": list(names)[-1:]},
            }
        ],
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return Path(shutil.copy(TABLE, tmp_path / "floors.json"))


def write(folder: Path, **files: object) -> Path:
    (folder / "2026").mkdir(parents=True)
    for name, content in files.items():
        (folder / "2026" / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_new_hole_raises_the_floor(tmp_path: Path, table: Path) -> None:
    folder = write(
        tmp_path / "csaf",
        new=bulletin("CVE-2026-99999", ["26.12"]),
        moved=bulletin("CVE-2025-23310", ["25.09", "r25.10"]),
        other=bulletin("CVE-2026-88888", ["26.12"], product="Container Toolkit"),
        broken="{",
        list="[]",
        vex={"document": {}},
    )
    assert refresh.main(folder, table) == 0
    read = json.loads(table.read_text())
    holes = {hole["cve"]: hole for hole in read["holes"]}
    assert holes["CVE-2026-99999"] == {"cve": "CVE-2026-99999", "fixed_in": "26.12", "impact": "denial of service"}
    assert holes["CVE-2025-23310"]["fixed_in"] == "25.10"
    assert holes["CVE-2025-23310"]["impact"] == floors().holes[0].impact
    assert "CVE-2026-88888" not in holes
    assert (read["security_floor"], read["dated"]) == ("26.12", "2026-12-24")
    assert len(holes) == len(floors().holes) + 1
    assert refresh.main(folder, table) == 0  # again, without a change
    assert json.loads(table.read_text()) == read


def test_a_hole_without_a_release_is_named(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "csaf", odd=bulletin("CVE-2026-77777", ["a later one"]))
    assert refresh.main(folder, table) == 1
    assert "CVE-2026-77777" in capsys.readouterr().err
    assert "CVE-2026-77777" not in table.read_text()


# --- the command ---


@pytest.mark.triton
def test_the_embedded_server_says_what_it_is(repository: Path) -> None:
    with serving(repository) as serve:
        line = serve.line("development server")
        assert "Triton 2.51.0 (24.10) of the nvidia-pytriton wheel has 24 known holes" in line
        assert "--allow-http=false" in Path(f"/proc/{serve.server_pid()}/cmdline").read_text()


def test_the_embedded_server_is_not_for_a_network(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["serve", "--repository", str(repository), "--profile", "batching", "--probe-port", "0"]
    for host in ("0.0.0.0", "::"):
        assert main([*arguments, "--host", host]) == 1
        said = capsys.readouterr().err
        assert "[GLIO-5129] The embedded server is a development server" in said


@pytest.mark.triton
def test_whoever_takes_the_risk_is_warned_at_each_start(repository: Path) -> None:
    with serving(repository, "--host", "0.0.0.0", "--allow-network-with-known-cves") as serve:
        assert "known holes" in serve.line("development server")


def test_doctor_tells_of_the_installed_server() -> None:
    (finding,) = (f for f in server_findings(None, None, None) if f.name == "known holes")
    assert (finding.state, finding.found) == ("warn", f"a development server, below {floors().security}")
    assert "127.0.0.1" in finding.action


@pytest.mark.parametrize(
    ("version", "state"), [("2.51.0", "fail"), ("2.71.0", "warn"), ("2.75.0", "ok"), (None, "warn")]
)
def test_doctor_tells_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, state: str
) -> None:
    found = installation(tmp_path, "container", version)
    monkeypatch.setattr("glioserve_triton.diagnosis.server.find_installation", lambda _: found)
    (finding,) = (f for f in server_findings(None, None, None) if f.name == "known holes")
    assert finding.state == state
    assert bool(finding.action) == (state != "ok")
