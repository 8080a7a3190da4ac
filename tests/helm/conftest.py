"""The chart's tests run with both majors of Helm, or skip with the reason why they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster.helm_tools import Helm, helm_binaries


@pytest.fixture(scope="session", params=["helm-4", "helm-3"])
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """One version of the real binary."""
    return _helm(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def helm4(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The newest, for tests of the chart's own logic, which does not depend on Helm's version."""
    return _helm("helm-4", tmp_path_factory.mktemp("helm-4-only"))


def _helm(name: str, home: Path) -> Helm:
    binaries = helm_binaries()
    if isinstance(binaries, str):
        pytest.skip(binaries)
    return Helm(binaries[name], home)
