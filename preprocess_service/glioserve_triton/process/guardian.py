"""A small process that owns a server so that it cannot be orphaned. Run as a script; standard library only.

``python -I -S guardian.py LIFE_FD STATUS_FD RUN_FOLDER COMMAND…``

* The server is a process group of its own, so that all of it can be killed, its helpers (Python stubs) too.
* LIFE_FD is the read end of a pipe whose write end only the owner has. When the owner dies, however it dies, the
  pipe ends and the group is killed.
* The kernel kills the server when the guardian dies (PR_SET_PDEATHSIG). That signal follows the *thread* that
  forked, which is why a single-threaded process stands between.
* The guardian is a subreaper: helpers whose server died become its children, so it knows when all are gone.
* It removes what the run leaves behind: its folder and its shared memory regions.

Exit code: the server's own, or 128 + its signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's POSIX shared memory, not a temporary file
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PARENT_POLL_S = 1.0
"""A second way to notice the owner's death: a process that the owner forked may hold the pipe open."""
REAP_TIMEOUT_S = 10.0
"""After SIGKILL only a process stuck in the kernel lasts longer."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def shared_memory_prefix(run_folder: Path) -> str:
    """Prefix of the names of the run's regions in /dev/shm."""
    return f"{run_folder.name}-"


def remove_run(run_folder: Path) -> None:
    """Remove a run's shared memory regions and folder; what is gone already is not an error."""
    for region in SHARED_MEMORY.glob(f"{shared_memory_prefix(run_folder)}*"):
        with contextlib.suppress(OSError):
            region.unlink()
    shutil.rmtree(run_folder, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the owner dies, then leave nothing behind."""
    life, status, run_folder, command = int(arguments[0]), int(arguments[1]), Path(arguments[2]), arguments[3:]
    owner = os.getppid()
    os.set_inheritable(life, False)
    os.set_inheritable(status, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the owner may block signals; the server must not inherit that
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakeup = _catch_signals()
    server = _spawn(command, libc)
    os.write(status, b"%d\n" % server)
    os.close(status)

    while not _has_ended(server):
        readable, _, _ = select.select([life, wakeup], [], [], PARENT_POLL_S)
        if wakeup in readable:
            for number in os.read(wakeup, 4096):
                if number in FORWARDED:
                    os.kill(server, number)
        if life in readable or os.getppid() != owner:
            break
    code = _end(server)
    remove_run(run_folder)
    return code


def _catch_signals() -> int:
    """Return a descriptor on which every signal's number can be read as a byte."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return read_end


def _spawn(command: list[str], libc: ctypes.CDLL) -> int:
    guardian = os.getpid()
    server = os.fork()
    if server:
        with contextlib.suppress(OSError):
            os.setpgid(server, server)  # by both, so that neither ever sees a server outside its group
        return server
    try:
        os.setpgid(0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guardian:  # died before prctl: the signal will never come
            os._exit(128 + signal.SIGKILL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _has_ended(server: int) -> bool:
    """Return whether the server is dead; it is not reaped yet, so its process group's number is still its own."""
    return os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(server: int) -> int:
    """Kill what is left of the group and reap everything. The server's exit code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)
    code = 128 + signal.SIGKILL
    for pid, status in _reaped():
        if pid == server:
            code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _reaped() -> Iterator[tuple[int, int]]:
    deadline = time.monotonic() + REAP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            yield pid, status
        else:
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
