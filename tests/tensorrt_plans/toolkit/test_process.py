"""A foreign program: its end, its time limit, its last words; nothing of it stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glioserve_tensorrt.builders.process import MAX_TAIL_BYTES, TAIL_LINES, Ended, run, tail_of
from support.server.triton import wait_until
from support.tensorrt.engines import living

TWO_GENERATIONS = "sleep 300 & echo $! > child; sh -c 'sleep 300 & echo $! > grandchild; wait' & "


def pids(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in ("child", "grandchild")]


def both_wrote(folder: Path) -> bool:
    return all((folder / name).exists() and (folder / name).read_text() for name in ("child", "grandchild"))


def test_a_program_that_ends_in_time(tmp_path: Path) -> None:
    ended = run(["sh", "-c", "echo said; echo wrong >&2; exit 4"], cwd=tmp_path, timeout_s=60)
    assert ended == Ended(4, "said\nwrong")
    assert str(ended) == "ended with code 4"
    assert (tmp_path / "log.txt").read_text() == "said\nwrong\n"


def test_it_reads_nothing_and_has_the_environment_it_is_given(tmp_path: Path) -> None:
    ended = run(["sh", "-c", "cat; echo $WHO"], cwd=tmp_path, timeout_s=60, environment={"WHO": "me"})
    assert ended == Ended(0, "me")


def test_what_it_started_and_left_behind_is_ended_with_it(tmp_path: Path) -> None:
    waits = "while [ ! -s grandchild ]; do sleep 0.01; done; exit 0"
    ended = run(["sh", "-c", TWO_GENERATIONS + waits], cwd=tmp_path, timeout_s=60)
    assert ended.returncode == 0
    wait_until(lambda: not any(map(living, pids(tmp_path))), "what it started is gone")


def test_the_time_limit_ends_all_of_it(tmp_path: Path) -> None:
    ended = run(["sh", "-c", TWO_GENERATIONS + "echo begun; wait"], cwd=tmp_path, timeout_s=3)
    assert ended == Ended(None, "begun")
    assert str(ended) == "was stopped at the time limit"
    wait_until(lambda: not any(map(living, pids(tmp_path))), "what it started is gone")


def test_a_program_that_will_not_hear_of_sigterm(tmp_path: Path) -> None:
    deaf = "trap '' TERM INT HUP; echo $$ > pid; while :; do sleep 1; done"
    assert run(["sh", "-c", deaf], cwd=tmp_path, timeout_s=2).returncode is None
    assert not living(int((tmp_path / "pid").read_text()))


def test_a_signal_that_ended_it_is_named(tmp_path: Path) -> None:
    ended = run(["sh", "-c", "kill -SEGV $$"], cwd=tmp_path, timeout_s=60)
    assert ended.returncode == -signal.SIGSEGV
    assert str(ended) == "was ended by SIGSEGV"


def test_what_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "none")], cwd=tmp_path, timeout_s=60)


INTERRUPTED = """
import sys
from pathlib import Path
from glioserve_tensorrt.builders.process import run
run(["sh", "-c", sys.argv[2] + "wait"], cwd=Path(sys.argv[1]), timeout_s=300)
"""


def test_an_interrupt_of_ours_ends_all_of_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), TWO_GENERATIONS], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: both_wrote(tmp_path), "its children")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in said
    wait_until(lambda: not any(map(living, pids(tmp_path))), "what it started is gone")


class InterruptedPopen(subprocess.Popen):  # type: ignore[type-arg]
    """An interrupt arrives when the program runs already and ``Popen`` has not returned yet."""

    def __init__(self, *args: object, cwd: Path, **options: object) -> None:
        super().__init__(*args, cwd=cwd, **options)  # type: ignore[call-overload]
        wait_until(lambda: both_wrote(cwd), "its children")
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_while_it_is_started_ends_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(subprocess, "Popen", InterruptedPopen)
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", TWO_GENERATIONS + "wait"], cwd=tmp_path, timeout_s=300)
    wait_until(lambda: not any(map(living, pids(tmp_path))), "what it started is gone")
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_tail_is_the_last_lines_without_the_empty_ones(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n" + b"\n \n".join(b"line %d  " % n for n in range(100)) + b"\n\n\n")
    with log.open("rb") as file:
        assert tail_of(file).splitlines() == [f"line {n}" for n in range(100 - TAIL_LINES, 100)]


def test_the_tail_of_long_lines_and_odd_bytes_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 3 * MAX_TAIL_BYTES + b"\n\xff\xfe end")
    with log.open("rb") as file:
        tail = tail_of(file)
    assert len(tail) <= MAX_TAIL_BYTES
    assert tail.splitlines()[-1] == "\ufffd\ufffd end"
    log.write_bytes(b"")
    with log.open("rb") as file:
        assert tail_of(file) == ""


def test_output_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """A pipe would be full after 64 kB."""
    ended = run(["sh", "-c", "head -c 4000000 /dev/zero | tr '\\0' 'x'; exit 0"], cwd=tmp_path, timeout_s=60)
    assert ended.returncode == 0
    assert (tmp_path / "log.txt").stat().st_size == 4_000_000
