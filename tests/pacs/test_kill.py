"""A kill at any moment: before and after every transaction, every file and every step of storing, then a new process.

Whenever it strikes, each study is answered with results that are stored once, and the log has each line once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glioserve_contract.errors.classes import BridgeStateError
from glioserve_pacs.records import files as files_module
from glioserve_pacs.records.audit import AuditLog
from glioserve_pacs.records.state import State
from glioserve_pacs.records.study import Phase
from glioserve_watch.audit.files import AUDIT_FOLDER, files_of
from glioserve_watch.audit.verify import verify
from support.pacs.pacs_fakes import COMPLETE, STUDY, Killed, Site


class Doomed(State):
    """A database whose process is killed before or after a given transaction."""

    countdown, after = 0, False

    @contextmanager
    def transition(self) -> Iterator[object]:  # type: ignore[override]
        strike = Doomed.countdown == 1
        Doomed.countdown -= 1
        with super().transition() as db:
            yield db
            if strike and not Doomed.after:
                raise Killed  # all of it is undone
        if strike:
            raise Killed


def whole_life(site: Site) -> None:
    """A study arrives, is answered, and gets a better series."""
    with site.bridge() as bridge:
        site.settle(bridge)
        site.pacs.add("t1ce 2")
        site.settle(bridge)
        site.settle(bridge)


def check(site: Site) -> None:
    """All is as if nothing had struck, but for answers that were asked for again."""
    site.state_class = State
    with site.bridge() as bridge:
        for _ in range(3):
            site.settle(bridge)
        study = bridge._state.study(STUDY)
        assert study is not None
        assert study.phase is Phase.STORED
    assert set(site.pacs.stored_times.values()) == {1}
    reports = site.pacs.reports_of()
    assert len(site.pacs.results) == 2 * len(reports)
    for earlier, later in itertools.pairwise(reports):
        assert later.PredecessorDocumentsSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    lines = site.events()
    numbers = [line["number"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert [line["event"] for line in lines].count("stored") == len(reports)
    assert not any(path.is_dir() for name in ("images", "results") for path in (site.folder / name).iterdir())


def transactions(folder: Path) -> int:
    """Number of transactions of a whole life."""
    site = Site(folder, state_class=Doomed)
    site.pacs.add(*COMPLETE)
    Doomed.countdown = 0
    whole_life(site)
    return -Doomed.countdown


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_transaction(tmp_path: Path, after: bool) -> None:
    (tmp_path / "whole").mkdir()
    total = transactions(tmp_path / "whole")
    assert total >= 10
    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder, state_class=Doomed)
        site.pacs.add(*COMPLETE)
        Doomed.countdown, Doomed.after = number, after
        with pytest.raises(Killed):
            whole_life(site)
        site.pacs.add("t1ce 2")
        check(site)
        assert len(site.pacs.reports_of()) in (1, 2)  # one, where the better series came before the first answer
        assert len(site.server.asked) <= 3


@pytest.mark.parametrize("number", [0, 1])
def test_killed_while_results_are_stored(tmp_path: Path, number: int) -> None:
    site = Site(tmp_path)
    site.pacs.add(*COMPLETE)

    def strike(stored: int) -> None:
        if stored == number:
            raise Killed

    site.pacs.before_store = strike
    with pytest.raises(Killed):
        whole_life(site)
    assert len(site.pacs.results) == number
    site.pacs.before_store = lambda _: None
    check(site)
    assert site.server.asked == [STUDY]  # the results were on the disk


def test_killed_when_the_answer_is_there_and_not_on_the_disk(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.pacs.add(*COMPLETE)

    def strike() -> None:
        raise Killed

    site.server.after = strike
    with pytest.raises(Killed):
        whole_life(site)
    site.server.after = lambda: None
    check(site)
    assert site.server.asked == [STUDY, STUDY]
    assert len(site.pacs.reports_of()) == 1


def test_killed_at_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fsync is a moment before a file or folder is in its place."""
    real = files_module.os.fsync
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder)
        site.pacs.add(*COMPLETE)
        left = number

        def fsync(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        monkeypatch.setattr(files_module.os, "fsync", fsync)
        try:
            whole_life(site)
        except Killed:
            monkeypatch.setattr(files_module.os, "fsync", real)
            check(site)
            continue
        break
    assert number > 10


def test_a_line_that_a_kill_cut_off_is_written_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
        whole = site.log()
        bridge._state.note("caller turned away")
        (file,) = files_of(tmp_path / AUDIT_FOLDER)
        file.path.write_text(whole + '{"at":"2026-')
    with site.bridge() as bridge:
        bridge.report()
    assert site.log().startswith(whole)
    assert site.events()[-1]["event"] == "caller turned away"
    assert verify(tmp_path / AUDIT_FOLDER).problems == []


def test_the_log_shows_that_a_line_was_removed_or_changed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
    found = verify(tmp_path / AUDIT_FOLDER)
    assert (found.problems, found.events) == ([], len(site.events()))
    (file,) = files_of(tmp_path / AUDIT_FOLDER)
    lines = file.path.read_bytes().splitlines(keepends=True)
    for changed in ([*lines[:1], *lines[2:]], [*lines[:-1], lines[-1].replace(b"stored", b"failed")]):
        file.path.write_bytes(b"".join(changed))
        assert verify(tmp_path / AUDIT_FOLDER).problems
        with pytest.raises(BridgeStateError, match=r"GLIO-5139.* line"):
            AuditLog(tmp_path)
