"""The page from an empty cluster to an answer: its values render, its commands are those of Helm and of glioserve."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from glioserve_cli.main import main
from support.cluster.helm_tools import CHART, Helm, Manifest

pytestmark = pytest.mark.helm

PAGE = (CHART.parents[1] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
(VALUES,) = (yaml.safe_load(text) for language, text in BLOCKS if language == "yaml")
COMMANDS = [
    line.strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in re.sub(r"\\\n\s*", "", text).splitlines()
]
RELEASES = [c for c in COMMANDS if re.match(r"helm (install|upgrade) \S+ helm/glioserve", c)]
OURS = [part.strip() for command in COMMANDS for part in command.split("&&") if part.strip().startswith("glioserve ")]


def rendered(helm4: Helm, command: str) -> list[Manifest]:
    """Return what a command installs."""
    _, _, release, _, *words = shlex.split(command)
    own = [word for word in words if word != "--wait"]
    for option, count in (("-n", 2), ("-f", 2), ("--timeout", 2)):
        if option in own:
            at = own.index(option)
            assert option != "-f" or own[at + 1] == "my-values.yaml"
            del own[at : at + count]
    return helm4.template(VALUES, release=release, arguments=own)


@pytest.mark.parametrize("command", RELEASES)
def test_a_release_of_the_page_renders(helm4: Helm, command: str) -> None:
    assert {m["kind"] for m in rendered(helm4, command)} >= {"Deployment", "Service", "Job", "NetworkPolicy"}


def test_the_canary_is_behind_the_first_ones_route(helm4: Helm) -> None:
    canary, main_release = (rendered(helm4, c) for c in RELEASES[1:3])
    services = {m["metadata"]["name"] for m in canary if m["kind"] == "Service"}
    assert "GRPCRoute" not in {m["kind"] for m in canary}
    (route,) = (m for m in main_release if m["kind"] == "GRPCRoute")
    weights = {b["name"]: b["weight"] for b in route["spec"]["rules"][0]["backendRefs"]}
    assert weights == {"mri-glioserve": 90, "mri-next-glioserve": 10}
    assert "mri-next-glioserve" in services


def test_what_the_page_looks_at_is_there(helm4: Helm) -> None:
    names = {(m["kind"], m["metadata"]["name"]) for m in rendered(helm4, RELEASES[0])}
    assert ("Job", "mri-glioserve-preflight") in names
    assert "job/mri-glioserve-preflight" in PAGE
    assert ("Deployment", "mri-glioserve") in names
    assert "deployment/mri-glioserve" in PAGE
    assert ("Service", "mri-glioserve") in names
    assert "mri-glioserve.radiology.svc:8001" in PAGE


@pytest.mark.parametrize("command", OURS)
def test_its_options_are_the_commands_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    first = next((at for at, word in enumerate(words) if not re.fullmatch(r"[a-z]+", word)), len(words))
    with pytest.raises(SystemExit) as ended:
        main([*words[: min(first, 2)], "--help"])
    assert ended.value.code == 0
    helped = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in helped, command


def test_the_page_has_what_is_tested_here() -> None:
    assert len(RELEASES) == 3
    assert {command.split()[1] for command in OURS} == {"repository", "bundle"}
    assert Path("ci") / "production-values.yaml" in {path.relative_to(CHART) for path in CHART.glob("ci/*.yaml")}
