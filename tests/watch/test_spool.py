"""The spool loses no record: whole files, taken in order, given again after a failure, and bounded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, Modality
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch import spool as spool_module
from glioserve_watch.digest import digest_of_files, digest_of_volumes
from glioserve_watch.keeper import Keeper
from glioserve_watch.spool import Spool, make_spool, waiting


def a_record(spool: Spool, **fields: object) -> StudyRecord:
    own = StudyRecord(
        spool.new_record_id(), "2026-01-31T23:59:59.000Z", "r-1", "answered", "", "report", CONTRACT_VERSION
    )
    return replace(own, **fields)


class Kept:
    """A taker that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.records: list[StudyRecord] = []
        self.failures = failures

    def take(self, records: Sequence[StudyRecord]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.records += records


def test_records_come_back_whole_and_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    records = [a_record(spool, score=n / 10, timings_s={"read": 0.5}) for n in range(12)]
    assert all(spool.put(record) for record in records)
    assert [record for _, record in waiting(tmp_path, 100)] == records
    assert len(list(waiting(tmp_path, 5))) == 5


def test_a_sink_that_fails_gets_them_again_and_the_one_before_it_does_not(tmp_path: Path) -> None:
    spool, first, second, told = Spool(tmp_path), Kept(), Kept(failures=2), []
    records = [a_record(spool) for _ in range(3)]
    for record in records:
        spool.put(record)
    keeper = Keeper(tmp_path, (first, second), told.append)
    keeper.look()
    keeper.look()
    assert (first.records, second.records, len(list(tmp_path.iterdir()))) == (records, [], 3)
    keeper.look()
    assert (first.records, second.records, list(tmp_path.iterdir())) == (records, records, [])
    assert [getattr(failure, "errno", None) for failure in told] == [28, 28, None]


def test_what_was_left_by_a_server_that_was_killed_is_taken_by_the_next(tmp_path: Path) -> None:
    spool, taken = Spool(tmp_path), Kept()
    record = a_record(spool)
    spool.put(record)
    (tmp_path / f"{spool.new_record_id()}.{1}").write_text('{"record_id": "cut o')  # killed before the rename
    keeper = Keeper(tmp_path, (taken,), lambda _: None).start()
    keeper.close()
    assert taken.records == [record]


def test_a_damaged_record_is_set_aside(tmp_path: Path) -> None:
    spool, taken = Spool(tmp_path), Kept()
    (tmp_path / f"{spool.new_record_id()}.json").write_text(json.dumps({"record_id": 7}))
    record = a_record(spool)
    spool.put(record)
    Keeper(tmp_path, (taken,), lambda _: None).look()
    assert taken.records == [record]
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_a_spool_that_nobody_empties_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MOST_FILES", 100)
    spool = Spool(tmp_path)
    put = [spool.put(a_record(spool)) for _ in range(300)]
    assert sum(put) == len(list(tmp_path.iterdir())) == 128
    for path in tmp_path.iterdir():
        path.unlink()
    assert any(spool.put(a_record(spool)) for _ in range(64))


def test_a_record_is_lost_without_an_error_where_the_folder_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gone")
    assert not spool.put(a_record(spool))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GlioserveError) as caught:
        make_spool(tmp_path / "file" / "spool")
    assert caught.value.code is ErrorCode.INVALID_STUDY_LOG


def test_the_digest_knows_a_study_in_any_order_and_tells_others_apart() -> None:
    files = [b"one", b"two", b"two"]
    assert digest_of_files(files) == digest_of_files(files[::-1])
    assert len({digest_of_files(f) for f in (files, files[:2], [b"onetwo"], [])}) == 4
    voxels, affine = np.zeros((2, 3, 4), np.float32), np.eye(4)
    volumes = {Modality.T1: (voxels, affine), Modality.T2: (voxels + 1, affine)}
    assert digest_of_volumes(volumes) == digest_of_volumes(dict(reversed(volumes.items())))
    others = (
        {Modality.T2: (voxels, affine)},
        {Modality.T1: (voxels.reshape(4, 3, 2), affine)},
        {Modality.T1: (voxels, 2 * affine)},
    )
    assert len({digest_of_volumes(v) for v in (volumes, {Modality.T1: (voxels, affine)}, *others)}) == 5
