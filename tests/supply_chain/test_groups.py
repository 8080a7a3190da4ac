"""The groups of tests reach xdist: without them every worker makes what a file or folder shares anew."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="groups are for several workers")
def test_a_files_tests_are_one_workers(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("the run does not ask for groups")
    assert request.node.nodeid.endswith(f"@{request.path}")
