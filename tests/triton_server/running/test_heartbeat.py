"""Heartbeats of Python models' processes, written and read."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from glioserve_triton.adapters.heartbeat import RUN_FOLDER, Beat, Heartbeat, read_heartbeats


def test_a_process_tells_that_it_waits_from_its_start_on_and_since_when_it_works(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path)
    assert read_heartbeats(tmp_path) == {os.getpid(): Beat(None, 0)}
    before = time.monotonic()
    with heartbeat.busy():
        beat = read_heartbeats(tmp_path)[os.getpid()]
        assert beat.busy_since_s is not None
        assert before <= beat.busy_since_s <= time.monotonic()
    assert read_heartbeats(tmp_path) == {os.getpid(): Beat(None, 1)}


def test_a_call_that_raises_is_over_too(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path)
    with pytest.raises(ValueError, match="spoilt"), heartbeat.busy():
        raise ValueError("spoilt")
    assert read_heartbeats(tmp_path)[os.getpid()].busy_for_s() == 0


def test_the_file_of_a_process_that_is_gone_is_not_left_for_another_of_its_number(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from glioserve_triton.adapters.heartbeat import Heartbeat\n"
        "with Heartbeat(Path(sys.argv[1])).busy(): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 1
    assert read_heartbeats(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    with Heartbeat(None).busy(), Heartbeat(tmp_path / "absent").busy():
        assert list(tmp_path.iterdir()) == []


SHIFTED_CLOCK = Path(__file__).resolve().parents[3] / "benchmarks" / "chaos" / "faults" / "shifted_clock.c"
GUARDED = """
import sys, time
from glioserve_triton.adapters.heartbeat import own_heartbeat
heartbeat = own_heartbeat()
print("idle", flush=True)
sys.stdin.readline()
with heartbeat.busy():
    print("busy", flush=True)
    sys.stdin.readline()
print("answered", flush=True)
"""


class Guarded:
    """A process that works when it is told to, and answers when it is told to."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", GUARDED],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment, RUN_FOLDER: str(folder)},
        )  # fmt: skip
        self.expect("idle")

    def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def stop(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it wrote since: a word on standard output, and standard error."""
        words, errors = self.process.communicate("\n", timeout=30)
        return self.process.returncode, words.strip(), errors


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_process_that_stood_still_ends_before_it_answers(tmp_path: Path, busy: bool) -> None:
    guarded = Guarded(tmp_path, {})
    if busy:
        guarded.go_on()
        guarded.expect("busy")
    guarded.stop(0.8)
    code, words, errors = guarded.end()
    assert (code, words) == (-signal.SIGKILL, "")
    assert errors.startswith("a process of a Python model stood still")


def test_a_process_that_was_continued_at_once_answers(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, {})
    guarded.go_on()
    guarded.expect("busy")
    guarded.stop(0.1)
    assert guarded.end() == (0, "answered", "")


def test_only_a_working_process_whose_clock_is_put_forward_ends(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library, clock, folder = tmp_path / "clock.so", tmp_path / "clock", tmp_path / "run"
    subprocess.run([compiler, "-shared", "-fPIC", str(SHIFTED_CLOCK), "-o", str(library), "-ldl"], check=True)
    clock.write_bytes(bytes(8))
    folder.mkdir()
    moved = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(clock)}
    idle, busy = Guarded(folder, moved), Guarded(folder, moved)
    busy.go_on()
    busy.expect("busy")
    with clock.open("r+b", buffering=0) as file:  # the processes have mapped this very file
        file.write(struct.pack("q", -86400))
        time.sleep(0.3)
        assert busy.process.poll() is None
        file.seek(0)
        file.write(struct.pack("q", 3600 - 86400))
    assert busy.process.wait(30) == -signal.SIGKILL
    assert busy.end()[1] == ""
    time.sleep(0.2)  # a process that begins work within a moment of the change may have been given it before
    idle.go_on()
    idle.expect("busy")
    assert idle.end() == (0, "answered", "")


def test_a_process_without_room_for_its_heartbeat_works_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{os.getpid()}.heartbeat").mkdir()  # as on a full file system, it cannot be written
    with Heartbeat(tmp_path).busy():
        pass
    assert "has no heartbeat" in capsys.readouterr().err
