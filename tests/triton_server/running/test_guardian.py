"""Nothing of the run lives on, whichever process dies. Plain commands here; the real server in test_lifecycle.py."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from glioserve_triton.process.guarded import MAX_LINE_CHARACTERS, GuardedProcess, OnLine
from glioserve_triton.process.run_folder import RunFolder, sweep_dead_runs
from support.server.triton import SHARED_MEMORY, assert_nothing_left, living_processes, regions, wait_until

HELPER_AND_LEADER = ["/bin/sh", "-c", "sleep 600 & echo up; wait"]
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; sleep 600 & echo up; while :; do sleep 0.1; done"]

_OWNER = """
import os, sys, time
from glioserve_triton.process.guarded import GuardedProcess
from glioserve_triton.process.run_folder import RunFolder
run = RunFolder()
process = GuardedProcess(sys.argv[2:], dict(os.environ), run)
child = os.fork() if sys.argv[1] == "fork" else 0
if child or sys.argv[1] != "fork":
    print(process.pid, process.guardian_pid, child, run.path, flush=True)
time.sleep(120)
"""


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator:
    """Starts guarded commands; whatever a test leaves of them is killed."""
    started: list[GuardedProcess] = []

    def starter(command: Sequence[str], on_line: OnLine | None = None) -> GuardedProcess:
        process = GuardedProcess(command, dict(os.environ), RunFolder(), on_line)
        started.append(process)
        return process

    yield starter
    for process in started:
        process.kill()


@dataclass(frozen=True)
class Owner:
    """A process of its own that owns a guarded command."""

    process: subprocess.Popen[str]
    group: int
    guardian: int
    child: int
    run_folder: Path


@contextlib.contextmanager
def owner_of(command: Sequence[str], mode: str = "plain") -> Iterator[Owner]:
    process = subprocess.Popen([sys.executable, "-c", _OWNER, mode, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        group, guardian, child, folder = process.stdout.readline().split()
    try:
        yield Owner(process, int(group), int(guardian), int(child), Path(folder))
    finally:
        process.kill()
        process.wait(30)


def is_up(process: GuardedProcess) -> bool:
    return "up" in process.tail() and len(living_processes(process.pid)) >= 2


def test_output_and_exit_code_arrive(start) -> None:
    lines: list[str] = []
    process = start(["/bin/sh", "-c", "echo one; echo two >&2; printf three; exit 7"], lines.append)
    wait_until(lambda: process.poll() is not None, "ended")
    assert process.kill() == 7
    assert lines == ["one", "two", "three"]
    assert process.tail() == "one\ntwo\nthree"
    assert_nothing_left(process.pid, process.run.path)


def test_death_by_a_signal_is_128_and_its_number(start) -> None:
    process = start(["/bin/sh", "-c", "kill -SEGV $$"])
    wait_until(lambda: process.poll() is not None, "ended")
    assert process.poll() == 128 + signal.SIGSEGV


def test_a_command_that_cannot_start_says_why(start) -> None:
    process = start(["/nowhere/tritonserver"])
    wait_until(lambda: process.poll() is not None, "ended")
    assert process.kill() == 127
    assert "/nowhere/tritonserver: No such file or directory" in process.tail()


def test_sigterm_is_forwarded(start) -> None:
    process = start(["/bin/sh", "-c", "trap 'echo draining; exit 0' TERM; echo up; while :; do sleep 0.05; done"])
    wait_until(lambda: "up" in process.tail(), "up")
    assert process.terminate(timeout_s=30) == 0
    assert "draining" in process.tail()
    assert_nothing_left(process.pid, process.run.path)


def test_what_ignores_sigterm_is_killed_with_its_helpers(start) -> None:
    process = start(STUBBORN)
    wait_until(lambda: is_up(process), "up")
    assert process.terminate(timeout_s=0.3) == 128 + signal.SIGKILL
    assert_nothing_left(process.pid, process.run.path)


def test_helpers_die_with_their_leader(start) -> None:
    process = start(["/bin/sh", "-c", "sleep 600 & echo up"])
    wait_until(lambda: process.poll() is not None, "ended")
    assert process.poll() == 0
    assert living_processes(process.pid) == []


def test_killing_twice_is_harmless(start) -> None:
    process = start(HELPER_AND_LEADER)
    wait_until(lambda: is_up(process), "up")
    assert process.kill() == process.kill() == 128 + signal.SIGKILL


def test_the_owner_killed(start) -> None:
    with owner_of(STUBBORN) as owner:
        wait_until(lambda: len(living_processes(owner.group)) >= 2, "up")
        (SHARED_MEMORY / f"{owner.run_folder.name}-region").write_bytes(b"tensors")
        owner.process.kill()
        wait_until(lambda: not living_processes(owner.group), "the group gone")
        wait_until(lambda: not Path(f"/proc/{owner.guardian}").exists(), "the guardian gone")
        assert_nothing_left(owner.group, owner.run_folder)


def test_the_owner_killed_while_its_child_holds_the_pipe() -> None:
    with owner_of(STUBBORN, mode="fork") as owner:
        try:
            wait_until(lambda: len(living_processes(owner.group)) >= 2, "up")
            owner.process.kill()
            wait_until(lambda: not living_processes(owner.group), "the group gone")
            wait_until(lambda: not owner.run_folder.exists(), "the folder gone")
        finally:
            os.kill(owner.child, signal.SIGKILL)


def test_the_guardian_killed(start) -> None:
    process = start(STUBBORN)
    wait_until(lambda: is_up(process), "up")
    os.kill(process.guardian_pid, signal.SIGKILL)
    wait_until(lambda: not living_processes(process.pid), "the group gone")
    assert process.poll() == 128 + signal.SIGKILL
    process.kill()
    assert_nothing_left(process.pid, process.run.path)


def test_owner_and_guardian_killed_at_once() -> None:
    with owner_of(["/bin/sleep", "600"]) as owner:
        os.kill(owner.guardian, signal.SIGSTOP)  # so that it cannot act on its owner's death
        owner.process.kill()
        owner.process.wait(30)
        assert living_processes(owner.group) == [owner.group]
        assert owner.run_folder not in sweep_dead_runs()  # the command itself holds the lock, too
        os.kill(owner.guardian, signal.SIGKILL)
        wait_until(lambda: not living_processes(owner.group), "the command gone")
        assert owner.run_folder.is_dir()  # no process was left to remove it
        wait_until(lambda: owner.run_folder in sweep_dead_runs(), "swept by the next start")
        assert_nothing_left(owner.group, owner.run_folder)


def test_a_living_run_is_not_swept(start) -> None:
    process = start(["/bin/sleep", "600"])
    region = SHARED_MEMORY / f"{process.run.path.name}-region"
    region.write_bytes(b"tensors")
    os.kill(process.guardian_pid, signal.SIGSTOP)
    try:
        assert process.run.path not in sweep_dead_runs()
        assert process.run.path.is_dir()
        assert regions(process.run.path) == [region.name]
    finally:
        os.kill(process.guardian_pid, signal.SIGCONT)
    process.kill()
    assert_nothing_left(process.pid, process.run.path)


def test_a_reader_that_fails_does_not_block_the_writer(start) -> None:
    def fail(line: str) -> None:
        raise BrokenPipeError

    process = start(["/bin/sh", "-c", "yes 0123456789 | head -c 1000000; echo; echo done"], fail)
    wait_until(lambda: process.poll() is not None, "ended")
    process.kill()
    assert process.tail().endswith("done")


def test_endless_lines_are_cut(start) -> None:
    process = start(["/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo done"])
    wait_until(lambda: process.poll() is not None, "ended")
    process.kill()
    assert process.tail().endswith("done")
    assert max(map(len, process.tail().splitlines())) <= MAX_LINE_CHARACTERS


def test_triton_s_tables_are_not_in_the_tail(start) -> None:
    process = start(["/bin/sh", "-c", "echo '+---+'; echo '| a |'; echo; echo 'error: creating server'"])
    wait_until(lambda: process.poll() is not None, "ended")
    process.kill()
    assert process.tail() == "error: creating server"
