from pathlib import Path

import pytest

from glioserve_registry.layout import static_models
from support.models.promotable import promotable_repository, quick_models

LOGITS = (1.0, 2.0, 3.0)
"""Logits of versions 1 to 3 of the repository."""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repositories are assembled with a preprocessing that takes no time."""
    folder = quick_models(tmp_path / "static models")
    for name in ("_PACKAGED", "_CHECKOUT"):
        monkeypatch.setattr(static_models, name, folder)


@pytest.fixture
def repository(tmp_path: Path, quick: None) -> Path:
    """Three versions, of which the first serves."""
    return promotable_repository(tmp_path / "repository", LOGITS)
