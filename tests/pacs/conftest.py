"""A bridge between a PACS and a server that are played, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pacs.pacs_fakes import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
