"""Heartbeats of Python models' processes, written and read."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glioserve_triton.adapters.heartbeat import Beat, Heartbeat, read_heartbeats


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
