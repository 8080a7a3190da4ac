"""Answers name their version, while versions and the record change underneath."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.promotion import PROMOTION_SCHEMA, Change, Promotion
from glioserve_contract.seal import sealed_json
from glioserve_triton.adapters.served_versions import ServedVersions
from support.models.recipes import fake_export, tiny_recipe

A, B = (f"sha256:{digit * 64}" for digit in "ab")
AT = "2031-05-06T07:08:09+00:00"


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Versions 1 and 2 of the weights A with different temperatures, version 3 of the weights B."""
    folder = tmp_path / "classifier"
    recipe = tiny_recipe()
    for number, weights, temperature in ((1, A, 1.0), (2, A, 1.7), (3, B, 1.0)):
        fake_export(folder / str(number), replace(recipe, temperature=temperature), weights_digest=weights)
    return folder


def serve(classifier: Path, serving: int, *history: Change) -> None:
    record = Promotion(schema=PROMOTION_SCHEMA, serving=serving, history=history)
    beside = classifier / ".promotion.json"
    beside.write_bytes(sealed_json(to_dict(record)))
    beside.replace(classifier / "promotion.json")


def test_without_a_record_the_newest_of_equal_weights_answers(classifier: Path) -> None:
    versions = ServedVersions(classifier)
    assert versions.find(A).version == "2"
    assert versions.find(B).version == "3"


def test_the_version_that_serves_answers_from_the_moment_the_record_says_so(classifier: Path) -> None:
    serve(classifier, 1)
    versions = ServedVersions(classifier)
    assert versions.find(A).manifest.recipe.temperature == 1.0
    serve(classifier, 2)
    assert versions.find(A).manifest.recipe.temperature == 1.7
    serve(classifier, 1)
    assert versions.find(A).version == "1"
    assert versions.find(B).version == "3", "another network's answers are its own version's"


def test_while_another_network_takes_over_the_one_that_served_last_answers(classifier: Path) -> None:
    """Studies in flight are answered by the weights A although B serves by the record already."""
    serve(classifier, 3, Change("publish", 1, AT), Change("promote", 2, AT, 1), Change("rollback", 1, AT, 2))
    assert ServedVersions(classifier).find(A).version == "1"


def test_a_version_published_since_is_found(classifier: Path) -> None:
    serve(classifier, 1)
    versions = ServedVersions(classifier)
    newer = f"sha256:{'c' * 64}"
    with pytest.raises(GlioserveError, match="in no manifest") as caught:
        versions.find(newer)
    assert caught.value.code is ErrorCode.UNKNOWN_MODEL
    fake_export(classifier / "4", weights_digest=newer)
    assert versions.find(newer).version == "4"


def test_a_record_that_breaks_under_a_running_server_ends_nothing(classifier: Path) -> None:
    serve(classifier, 1)
    versions = ServedVersions(classifier)
    (classifier / "promotion.json").write_bytes(b"half a rec")
    assert versions.find(A).version == "1"
    assert versions.find(B).version == "3"
    with pytest.raises(GlioserveError, match="in no manifest"):
        versions.find(f"sha256:{'d' * 64}")
    serve(classifier, 2)
    assert versions.find(A).version == "2"
    (classifier / "promotion.json").write_bytes(b"half a rec")
    with pytest.raises(GlioserveError):  # but a server does not start on a broken one
        ServedVersions(classifier)


def test_the_manifests_are_read_when_the_record_changes_and_not_for_every_study(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(classifier, 1)
    versions = ServedVersions(classifier)
    reads: list[str] = []
    real = Path.read_bytes

    def counted(path: Path) -> bytes:
        reads.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    for _ in range(5):
        versions.find(A)
    assert reads == []
    os.utime(classifier / "promotion.json")
    versions.find(A)
    assert reads == ["promotion.json", *["manifest.json"] * 3]
