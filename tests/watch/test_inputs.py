"""Kept inputs: those of answered studies alone, up to a bound, and never at a study's or another sink's expense."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import CONTRACT_VERSION, sha256_digest
from glioserve_contract.records.report import ModelRecord
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch import inputs
from glioserve_watch.inputs import InputKeeper, KeptInput, find_input, input_file, leave_input

MODEL = ModelRecord("demo", "1", sha256_digest(b"weights"), "resnet10")


def an_input(value: float) -> tuple[str, KeptInput]:
    image = np.full((2, 3, 4, 5), value, np.float32)
    return sha256_digest(image.tobytes()), KeptInput(image, np.ones((3, 4, 5), np.uint8), '{"a": "ö"}')


REQUEST, AGAIN = sha256_digest(b"a request"), sha256_digest(b"the same study with other pseudonyms")


def answered(digest: str, request: str = REQUEST) -> StudyRecord:
    own = StudyRecord("1-1-1", "2026-01-31T23:59:59.000Z", "r", "answered", "", "report", CONTRACT_VERSION)
    return replace(own, image_digest=digest, input_digest=request, model=MODEL)


def left(folder: Path, digest: str, kept: KeptInput, request: str = REQUEST) -> bool:
    return leave_input(folder, input_file(digest, request), kept)


def found(folder: Path, digest: str, request: str = REQUEST) -> KeptInput | None:
    return find_input(folder, digest, request)


def none_lost(error: OSError) -> None:
    raise AssertionError(error)


def test_an_input_comes_back_as_it_was(tmp_path: Path) -> None:
    keeper = InputKeeper(tmp_path, 1 << 30, none_lost)
    digest, kept = an_input(0.5)
    assert left(tmp_path, digest, kept)
    assert found(tmp_path, digest) is None  # its study has not ended
    keeper.take([answered(digest)])
    back = found(tmp_path, digest)
    assert back is not None
    np.testing.assert_array_equal(back.image, kept.image)
    np.testing.assert_array_equal(back.brain_mask, kept.brain_mask)
    assert back.preprocess == kept.preprocess
    keeper.take([answered(digest)])  # the record comes again after a kill
    assert found(tmp_path, digest) is not None


def test_one_image_of_two_requests_is_kept_with_what_preprocessing_said_of_each(tmp_path: Path) -> None:
    keeper = InputKeeper(tmp_path, 1 << 30, none_lost)
    digest, kept = an_input(0.5)
    for request in (REQUEST, AGAIN):
        assert left(tmp_path, digest, replace(kept, preprocess=f'{{"input_digest": "{request}"}}'), request)
    keeper.take([answered(digest), answered(digest, AGAIN)])
    for request in (REQUEST, AGAIN):
        back = found(tmp_path, digest, request)
        assert back is not None
        assert request in back.preprocess


def test_what_is_kept_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    keeper = InputKeeper(folder, 1 << 30, none_lost)
    digest, kept = an_input(0.5)
    assert left(folder, digest, kept)
    keeper.take([answered(digest)])
    (folder / "incoming" / "another").touch(0o600)
    made = [folder, *folder.rglob("*")]
    assert len(made) == 4
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_the_oldest_go_beyond_the_bound(tmp_path: Path) -> None:
    made = [an_input(n) for n in range(4)]
    keeper = InputKeeper(tmp_path, 1 << 30, none_lost)
    for age, (digest, kept) in enumerate(made):
        left(tmp_path, digest, kept)
        keeper.take([answered(digest)])
        os.utime(tmp_path / input_file(digest, REQUEST), (1000 + age, 1000 + age))
    size = (tmp_path / input_file(made[0][0], REQUEST)).stat().st_size
    InputKeeper(tmp_path, 2 * size, none_lost).take([])
    assert [found(tmp_path, digest) is not None for digest, _ in made] == [False, False, True, True]


def test_the_input_of_a_study_without_an_answer_goes(tmp_path: Path) -> None:
    digest, kept = an_input(1)
    keeper = InputKeeper(tmp_path, 1 << 30, none_lost)
    left(tmp_path, digest, kept)
    keeper.take([replace(answered(digest), model=None)])
    (waiting,) = (tmp_path / "incoming").iterdir()
    os.utime(waiting, (1000, 1000))
    keeper.take([])
    assert list((tmp_path / "incoming").iterdir()) == []


def test_an_input_that_cannot_be_kept_is_lost_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, kept = an_input(1)
    assert not left(tmp_path / "gone", digest, kept)
    lost: list[OSError] = []
    keeper = InputKeeper(tmp_path, 1 << 30, lost.append)
    monkeypatch.setattr(inputs, "MOST_INCOMING", 1)
    assert [left(tmp_path, *an_input(n)) for n in range(3)] == [True, False, False]
    (tmp_path / "incoming").rename(tmp_path / "moved")
    keeper.take([answered(digest)])
    assert len(lost) == 1
