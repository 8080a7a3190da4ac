"""``glioserve audit``: what lies beside the log's files, and outputs that cannot be written."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.audit.log import AuditLog


def write_log(folder: Path, count: int = 3) -> None:
    """Write a log of so many studies, or go on with the one that is there."""
    one = StudyRecord("", "2026-03-01T12:00:00.000Z", "r-1", "answered", "", "report", CONTRACT_VERSION)
    log = AuditLog(folder)
    log.take([replace(one, record_id=f"{n:020d}-7-0") for n in range(count)])
    log.close()


NOT_A_FILE: dict[str, Callable[[Path], object]] = {
    "audit-000000000009-2026-13-45.jsonl": Path.touch,
    "audit-000000000009-2026-02-30.jsonl": Path.touch,
    "audit-00000000000٩-2026-03-02.jsonl": Path.touch,
    "audit-000000000009-2026-03-02.jsonl": Path.mkdir,
    "audit-000000000009-2026-03-03.jsonl": os.mkfifo,
}
"""Names of things in the log's folder that are not files of the log, and how each is made."""


@pytest.mark.parametrize("name", NOT_A_FILE)
def test_what_is_not_a_file_of_the_log_is_told(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(tmp_path)
    NOT_A_FILE[name](tmp_path / name)
    assert main(["audit", "verify", str(tmp_path)]) == 1
    assert f"PROBLEM  {name}: it is not a file of the log" in capsys.readouterr().out
    write_log(tmp_path)  # a server goes on all the same


OUTPUTS: dict[str, tuple[str, int, str]] = {
    "a reader that has gone": ("| :; exit ${PIPESTATUS[0]}", 128 + signal.SIGPIPE, ""),
    "a full disk": (
        "> /dev/full",
        1,
        "glioserve audit: the output, or a file that it writes: No space left on device.",
    ),
    "a closed output": (">&-", 0, ""),
}
"""Places where the output goes, each with the exit code and what the command tells of it."""


@pytest.mark.parametrize("what", OUTPUTS)
def test_an_output_that_cannot_be_written_is_no_fault_of_the_log(what: str, tmp_path: Path) -> None:
    write_log(tmp_path, 3000)  # more than a pipe holds
    where, code, told = OUTPUTS[what]
    command = f"{shlex.quote(sys.executable)} -m glioserve_cli.main audit show {shlex.quote(str(tmp_path))} {where}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(told)
    assert bool(done.stderr) == bool(told), done.stderr
