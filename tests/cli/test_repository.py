"""``glioserve repository list`` and ``verify`` take the repository alone, or by the name that other actions have."""

from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_registry.layout.repository import add_version
from support.models.recipes import fake_export


@pytest.mark.parametrize("action", ["list", "verify"])
def test_a_repository_is_named_in_either_way(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "repository"
    add_version(repository, fake_export(tmp_path / "exported"))
    said = []
    for named in ([str(repository)], ["--repository", str(repository)]):
        assert main(["repository", action, *named]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "1" in said[0]
