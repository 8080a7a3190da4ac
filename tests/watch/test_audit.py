"""The audit log: each study once, whatever is killed; every changed byte found; whole old files removed, and said."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, canonical_json, sha256_digest
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.audit import chain as chain_module
from glioserve_watch.audit import log as log_module
from glioserve_watch.audit.files import files_of
from glioserve_watch.audit.lines import Head, make_line, parse_head, read_line
from glioserve_watch.audit.log import AuditLog, keep_days
from glioserve_watch.audit.verify import logs_in, verify
from glioserve_watch.folder import hold_folder, hold_part_of
from glioserve_watch.keeper import Keeper
from glioserve_watch.spool import Spool

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now


def records(count: int, first: int = 0) -> list[StudyRecord]:
    one = StudyRecord("", "2026-03-01T12:00:00.000Z", "r-1", "answered", "", "report", CONTRACT_VERSION, score=0.25)
    return [replace(one, record_id=f"{n:020d}-7-0") for n in range(first, first + count)]


def written(folder: Path, count: int = 3) -> Head:
    log = AuditLog(folder, now=Clock())
    log.take(records(count))
    log.close()
    return log.head


def record_ids(folder: Path) -> list[str]:
    lines = [read_line(text) for file in files_of(folder) for text in file.path.read_bytes().splitlines(keepends=True)]
    return [line.body["record_id"] for line in lines if line.kind == "study"]


def only_file(folder: Path) -> Path:
    (file,) = files_of(folder)
    return file.path


def test_a_log_says_what_was_taken_and_verifies(tmp_path: Path) -> None:
    told: list[tuple[str, Head]] = []
    log = AuditLog(tmp_path, told=lambda what, head: told.append((what, head)), software="glioserve 0", now=Clock())
    log.take(records(2))
    log.take_ends({("expired", "GLIO-4101"): 0, ("rejected", "GLIO-4101"): 3})
    log.take_ends({("expired", "GLIO-4101"): 1, ("rejected", "GLIO-4101"): 3})
    log.close()
    log.close()
    lines = [read_line(text) for text in only_file(tmp_path).read_bytes().splitlines(keepends=True)]
    assert [line.kind for line in lines] == ["started", "study", "study", "ends", "ends"]
    assert lines[0].body == {"software": "glioserve 0", "cut_bytes": 0}
    assert lines[1].body["score"] == 0.25
    assert [line.body for line in lines[3:]] == [
        {"outcome": "rejected", "code": "GLIO-4101", "studies": 3},
        {"outcome": "expired", "code": "GLIO-4101", "studies": 1},
    ]
    found = verify(tmp_path, log.head)
    assert (found.lines, found.studies, found.counted, found.first, found.problems) == (5, 2, 4, Head(), [])
    assert told == [("audit log goes on", lines[0].head), ("audit log ends", lines[4].head)]
    assert parse_head(str(log.head)) == log.head == found.head
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    head = written(tmp_path, 1)
    file = only_file(tmp_path)
    whole = file.read_bytes()
    for position in range(len(whole)):
        changed = whole[position] ^ (0x20 if chr(whole[position]).isalpha() else 1)  # also the case of a letter
        file.write_bytes(whole[:position] + bytes([changed]) + whole[position + 1 :])
        assert verify(tmp_path).problems, (position, changed)
    for position in range(0, len(whole), 23):
        file.write_bytes(whole[:position] + whole[position + 1 :])
        assert verify(tmp_path).problems, f"byte {position} taken out"
        file.write_bytes(whole[:position] + b" " + whole[position:])
        assert verify(tmp_path).problems, f"a space before byte {position}"
    file.write_bytes(whole)
    assert verify(tmp_path, head).problems == []


def rehashed(lines: list[bytes], number: int) -> bytes:
    fields = json.loads(lines[number])
    fields["study"]["score"] = 0.75
    del fields["hash"]
    return canonical_json({**fields, "hash": sha256_digest(canonical_json(fields).encode())}).encode() + b"\n"


TAMPERINGS: dict[str, Callable[[list[bytes]], Sequence[bytes]]] = {
    "a line is gone": lambda lines: lines[:2] + lines[3:],
    "the first line is gone": lambda lines: lines[1:],
    "two lines are swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "a line is there twice": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "a line is edited and hashed again": lambda lines: [*lines[:2], rehashed(lines, 2), *lines[3:]],
    "half a line is left": lambda lines: [*lines[:-1], lines[-1][:20]],
    "nothing is left": lambda lines: [],
}
AT_THE_END: dict[str, Callable[[list[bytes]], Sequence[bytes]]] = {
    "the tail is gone": lambda lines: lines[:-1],
    "the last line is edited and hashed again": lambda lines: [*lines[:-1], rehashed(lines, -1)],
}


@pytest.mark.parametrize("tamper", [*TAMPERINGS, *AT_THE_END])
def test_a_log_that_was_tampered_with_is_found(tmp_path: Path, tamper: str) -> None:
    head = written(tmp_path)
    file = only_file(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join({**TAMPERINGS, **AT_THE_END}[tamper](lines)))
    assert verify(tmp_path, head).problems
    assert bool(verify(tmp_path).problems) == (tamper in TAMPERINGS)


def test_a_file_that_is_gone_renamed_or_foreign_is_found(tmp_path: Path) -> None:
    clock = Clock()
    log = AuditLog(tmp_path / "log", now=clock)
    for day in range(3):
        clock.now = BEGIN + timedelta(days=day)
        log.take(records(2, 10 * day))
    log.close()
    assert verify(tmp_path / "log", log.head).problems == []
    files = [file.path for file in files_of(tmp_path / "log")]
    assert len(files) == 3
    for number, file in enumerate(files):
        copy = shutil.copytree(tmp_path / "log", tmp_path / f"without-{number}")
        (copy / file.name).unlink()
        assert verify(copy, log.head).problems
    files[1].rename(files[1].with_name(files[1].name.replace("03-02", "03-03")))
    assert any("not written on the day" in problem for problem in verify(tmp_path / "log").problems)
    (tmp_path / "without-2" / "notes.txt").write_text("")
    assert "notes.txt: it is not a file of the log" in verify(tmp_path / "without-2").problems


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of the keeper goes on."""


class Kills:
    def take(self, records: Sequence[StudyRecord]) -> None:
        raise KilledError


def test_a_kill_between_the_log_and_the_spool_leaves_each_study_once(tmp_path: Path) -> None:
    folder, spool_folder = tmp_path / "audit", tmp_path / "spool"
    spool_folder.mkdir()
    spool = Spool(spool_folder)
    put = [replace(record, record_id=spool.new_record_id()) for record in records(6)]
    for record in put[:4]:
        spool.put(record)
    with pytest.raises(KilledError):
        Keeper(spool_folder, (AuditLog(folder), Kills()), lambda _: None).look()
    assert len(list(spool_folder.iterdir())) == 4  # all written, none removed
    for record in put[4:]:
        spool.put(record)
    log = AuditLog(folder)
    Keeper(spool_folder, (log,), lambda _: None).look()
    log.close()
    assert record_ids(folder) == [record.record_id for record in put]
    assert list(spool_folder.iterdir()) == []
    assert log.records_written == 2
    assert verify(folder, log.head).problems == []


def test_a_line_that_was_cut_anywhere_is_repaired_and_its_record_comes_again(tmp_path: Path) -> None:
    written(tmp_path / "whole", 2)
    whole = only_file(tmp_path / "whole").read_bytes()
    starts = [0, *(n + 1 for n, byte in enumerate(whole) if byte == 0x0A)]
    for cut in sorted({*range(0, len(whole), 37), *(s + d for s in starts for d in (-1, 0, 1) if s + d >= 0)}):
        folder = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "whole", folder)
        with only_file(folder).open("r+b") as file:
            file.truncate(cut)
        log = AuditLog(folder, now=Clock())
        assert log.cut_bytes == cut - max(s for s in starts if s <= cut)
        log.take(records(2))
        log.close()
        assert record_ids(folder) == [record.record_id for record in records(2)]
        assert verify(folder, log.head).problems == []


def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, now=Clock())
    log.take(records(1))
    before, write, full = log.head, os.write, [True]

    def fills(descriptor: int, text: bytes) -> int:
        if full and len(text) <= 300:
            full.clear()
            raise OSError(28, "No space left on device")
        return write(descriptor, text[:200])

    with monkeypatch.context() as patched:
        patched.setattr(chain_module.os, "write", fills)
        with pytest.raises(OSError, match="No space"):
            log.take(records(3))
        assert log.head == before
        log.take(records(3))
    log.close()
    assert record_ids(tmp_path) == [record.record_id for record in records(3)]
    assert verify(tmp_path, log.head).problems == []


def test_a_log_that_something_else_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    written(tmp_path)
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"0.25", b"0.75", 1))
    with pytest.raises(GlioserveError, match=r"line 2: it does not fit its own hash") as caught:
        AuditLog(tmp_path)
    assert caught.value.code is ErrorCode.INVALID_STUDY_LOG
    (tmp_path / "file").write_text("")
    with pytest.raises(GlioserveError, match="GLIO-5134"):
        AuditLog(tmp_path / "file" / "audit")


def test_files_end_with_their_size_and_the_head_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "MOST_BYTES", 1000)
    told: list[Head] = []
    log = AuditLog(tmp_path, told=lambda _, head: told.append(head), now=Clock())
    for n in range(10):
        log.take(records(1, n))
    log.close()
    files = files_of(tmp_path)
    assert len(files) > 2
    assert all(1000 <= file.path.stat().st_size < 2000 for file in files[:-1])
    assert [head.seq for head in told] == [1, *(file.first_seq - 1 for file in files[1:]), 11]
    assert all(verify(tmp_path, head).problems == [] for head in told)


def test_old_files_go_whole_and_the_chain_says_where_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, 183, now=clock)
    heads = []
    for day in (0, 1, 183):
        clock.now = BEGIN + timedelta(days=day)
        log.look()
        log.take(records(2, 10 * day))
        heads.append(log.head)
    assert len(files_of(tmp_path)) == 3  # 183 days old is kept
    clock.now = BEGIN + timedelta(days=184)
    log.look()
    log.take(records(1, 5000))
    log.close()
    assert [file.day.isoformat()[5:] for file in files_of(tmp_path)] == ["03-02", "08-31", "09-01"]
    found = verify(tmp_path, log.head)
    assert (found.problems, found.first) == ([], heads[0])
    assert verify(tmp_path, heads[0]).problems == []
    assert verify(tmp_path, Head(1, heads[0].hash)).problems == [
        "line 1 was removed for its age, so that its hash cannot be compared"
    ]
    assert main(["audit", "verify", str(tmp_path)]) == 0
    assert f"begins after line {heads[0].seq}; older files were removed for their age" in capsys.readouterr().out
    files_of(tmp_path)[0].path.unlink()
    assert main(["audit", "verify", str(tmp_path)]) == 1
    assert "begins after line 5\n" in capsys.readouterr().out  # not for their age
    assert verify(tmp_path).problems == [
        "the chain begins after line 5, and no later line says that those before were removed"
    ]


def test_a_kill_while_old_files_go_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, now=clock)
    for day in (0, 1):
        clock.now = BEGIN + timedelta(days=day)
        log.take(records(2, 10 * day))
    log.close()
    clock.now = BEGIN + timedelta(days=300)
    unlink, left = Path.unlink, [1]

    def dies(path: Path, missing_ok: bool = False) -> None:
        if not left:
            raise KilledError
        left.pop()
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dies)
        with pytest.raises(KilledError):
            AuditLog(tmp_path, 183, now=clock)
    assert verify(tmp_path).problems == []  # the first of two files is gone
    log = AuditLog(tmp_path, 183, now=clock)
    log.close()
    assert [file.day for file in files_of(tmp_path)] == [clock.now.date()]
    found = verify(tmp_path, log.head)
    assert (found.problems, found.studies) == ([], 0)


def test_without_a_bound_all_is_kept(tmp_path: Path) -> None:
    written(tmp_path)
    clock = Clock()
    clock.now = BEGIN + timedelta(days=4000)
    AuditLog(tmp_path, None, now=clock).close()
    assert verify(tmp_path).studies == 3


def test_a_log_is_kept_for_six_months_at_least() -> None:
    assert (keep_days("0"), keep_days("183"), keep_days("3650")) == (None, 183, 3650)
    for wrong in ("182", "1", "-1", "183.5", "all", ""):
        with pytest.raises(ValueError, match="183 days"):
            keep_days(wrong)


def test_records_of_long_ago_are_forgotten_and_the_last_are_known_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "REMEMBERED", 5)
    monkeypatch.setattr(chain_module, "MOST_BYTES", 1000)
    log = AuditLog(tmp_path, now=Clock())
    for n in range(8):
        log.take(records(1, n))
    log.take(records(5, 3))
    log.close()
    log = AuditLog(tmp_path, now=Clock())
    log.take(records(5, 3))
    assert log.records_written == 0
    log.take(records(1))
    assert log.records_written == 1


def test_a_folder_is_one_servers_at_a_time(tmp_path: Path) -> None:
    held = hold_folder(tmp_path / "log")
    with pytest.raises(GlioserveError, match="another server uses it") as caught:
        hold_folder(tmp_path / "log")
    assert caught.value.code is ErrorCode.INVALID_STUDY_LOG
    held.release()
    held.release()
    hold_folder(tmp_path / "log").release()


def test_servers_that_share_a_folder_take_a_part_each_and_go_on_with_anothers(tmp_path: Path) -> None:
    first, second = hold_part_of(tmp_path), hold_part_of(tmp_path)
    assert [held.path.name for held in (first, second)] == ["server-1", "server-2"]
    first.release()
    assert hold_part_of(tmp_path).path == first.path
    for held in (first, second):
        written(held.path / "audit")
    assert logs_in(tmp_path) == [first.path / "audit", second.path / "audit"]
    assert logs_in(first.path) == logs_in(first.path / "audit") == [first.path / "audit"]


def test_a_line_of_an_unknown_kind_is_not_taken_for_one_of_ours() -> None:
    line, head = make_line(Head(), BEGIN, "novel", {})
    with pytest.raises(ValueError, match="'novel' is unknown"):
        read_line(line)
    assert head.seq == 1
