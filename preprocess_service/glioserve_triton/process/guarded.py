"""The owner's side of the guardian: start a command under it, follow its output, end it within a bound."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from glioserve_triton.process import guardian
from glioserve_triton.process.run_folder import RunFolder
from glioserve_triton.waiting import StopCheck, never

TAIL_LINES = 60
MAX_LINE_CHARACTERS = 2000
START_TIMEOUT_S = 60.0
HURRIED_EXIT_S = 3.0
"""Time to end by itself for a command whose end is hurried."""
KILL_TIMEOUT_S = guardian.REAP_TIMEOUT_S + 5
_POLL_S = 0.25

OnLine = Callable[[str], None]


class GuardedProcess:
    """A running command. It cannot outlive this process, the guardian, or :meth:`kill`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], run: RunFolder, on_line: OnLine | None = None
    ) -> None:
        """Start ``command``. ``on_line`` is called, by a thread, with every line it writes to either output."""
        self.run = run
        """Removed when the process has ended."""
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self.pid = 0
        """Process id of the command, which is its process group's too; 0 if it did not start."""
        life_read, self._life = os.pipe()
        status_read, status_write = os.pipe()
        try:
            self._guardian = subprocess.Popen(
                # Isolated and without site: nothing but the standard library, and quick to start.
                [
                    sys.executable,
                    "-I",
                    "-S",
                    guardian.__file__,
                    str(life_read),
                    str(status_write),
                    str(run.path),
                    *command,
                ],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is for the owner, who stops the server in order
                pass_fds=(life_read, status_write, run.lock),
            )
        except BaseException:
            os.close(self._life)
            os.close(status_read)
            raise
        finally:
            os.close(life_read)
            os.close(status_write)
        self._follower = threading.Thread(target=self._follow, name="server-log", daemon=True)
        self._follower.start()
        self.pid = self._read_pid(status_read)

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian."""
        return self._guardian.pid

    def poll(self) -> int | None:
        """Return the command's exit code (128 + a signal's number), None while it runs."""
        code = self._guardian.poll()
        return code if code is None or code >= 0 else 128 - code

    def tail(self) -> str:
        """Return the last lines that were written, without Triton's tables."""
        return "\n".join(line for line in self._lines.copy() if line.strip() and line[0] not in "+|")

    def terminate(self, timeout_s: float, hurry: StopCheck = never) -> int:
        """SIGTERM, then at most ``timeout_s`` later SIGKILL for all of it. The exit code.

        Where ``hurry`` says so, the kill comes at most :data:`HURRIED_EXIT_S` later.
        """
        if self._guardian.poll() is None:
            self._guardian.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + timeout_s
            while self._guardian.poll() is None and time.monotonic() < deadline:
                if hurry():
                    deadline, hurry = min(deadline, time.monotonic() + HURRIED_EXIT_S), never
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._guardian.wait(_POLL_S)
        return self.kill()

    def kill(self) -> int:
        """Kill the whole group at once if it still runs, and release everything. Safe to call twice."""
        if self._life >= 0:
            os.close(self._life)  # which tells the guardian
            self._life = -1
        try:
            self._guardian.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self._kill_group_of_dead_guardian()
        self._follower.join(KILL_TIMEOUT_S)
        if self._guardian.stdout and not self._follower.is_alive():
            self._guardian.stdout.close()
        self.run.remove()
        return self.poll() or 0

    def _read_pid(self, status: int) -> int:
        """Return the pid that the guardian reports; an empty report means that it is dead, as :meth:`poll` shows."""
        try:
            readable, _, _ = select.select([status], [], [], START_TIMEOUT_S)
            report = os.read(status, 64) if readable else b""
        finally:
            os.close(status)
        return int(report or b"0")

    def _follow(self) -> None:
        """Collect the output until all writers are gone; end the group if the guardian was killed."""
        stream = self._guardian.stdout
        assert stream is not None
        descriptor, rest = stream.fileno(), b""
        while True:
            readable, _, _ = select.select([descriptor], [], [], _POLL_S)
            if readable:
                block = os.read(descriptor, 1 << 16)
                *lines, rest = (rest + block).split(b"\n")
                if not block or len(rest) > MAX_LINE_CHARACTERS:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._take(line)
                if not block:
                    return
            elif self._guardian.poll() is not None:
                self._kill_group_of_dead_guardian()

    def _take(self, line: bytes) -> None:
        text = line[:MAX_LINE_CHARACTERS].decode("utf-8", "replace").rstrip()
        self._lines.append(text)
        if self._on_line is not None:
            try:
                self._on_line(text)
            except Exception:  # noqa: BLE001 - a closed terminal must not stop the reading, which would block the server
                self._on_line = None

    def _kill_group_of_dead_guardian(self) -> None:
        """Kill the group of a guardian that was killed; one that ended by itself has done so already."""
        code = self._guardian.poll()
        if code is not None and code < 0 and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
