"""One log of the supervisor, the server and its models: as Triton writes it, or a JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Literal, TextIO

from glioserve_triton.log_stream import LogStream

LogFormat = Literal["text", "json"]
LogLevel = Literal["info", "warning", "error"]

_TRITON = re.compile(
    r'(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (?P<level>[IWEF]) \d+ (?P<at>\S+)\] ?"?(?P<message>.*?)"?$'
)
_LEVELS: dict[str, LogLevel] = {"I": "info", "W": "warning", "E": "error", "F": "error"}
LEVELS: tuple[LogLevel, ...] = ("info", "warning", "error")
"""Levels from the lowest on."""


class Log:
    """Writes lines to ``stream``.

    A model may write JSON objects of its own, which the text shows as our events; the gateway's, which have no message,
    pass unchanged. Lines below ``level`` are left out. One without a level, such as the end of a crashed process, is
    never left out.
    """

    def __init__(self, stream: TextIO | LogStream, log_format: LogFormat, level: LogLevel = "info") -> None:
        self._stream = stream
        self._json = log_format == "json"
        self._shown = LEVELS[LEVELS.index(level) :]

    def event(self, message: str, level: LogLevel = "info", **fields: object) -> None:
        """Something that the supervisor did or saw."""
        if level in self._shown:
            time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._tell({"time": time, "level": level, "source": "glioserve", "message": message, **fields})

    def plain(self, text: str) -> None:
        """Write a text as it is, whatever the format and the level."""
        self._write(text)

    def server_line(self, line: str) -> None:
        """Log a line that the server or one of its models wrote; an empty one is left out."""
        if not line.strip():
            return
        if (record := _object_of(line)) is not None:
            if record.get("level") not in (None, *self._shown):
                return
            if "message" in record:
                self._tell(record)
            else:
                self._write(line)
        elif match := _TRITON.match(line):
            level = _LEVELS[match["level"]]
            if level not in self._shown:
                return
            if not self._json:
                self._write(line)
            elif match["message"]:
                found = {"time": match["time"], "level": level, "source": match["at"], "message": match["message"]}
                self._write(json.dumps(found))
        elif not self._json:
            self._write(line)
        elif line[0] not in "+|":  # Triton's tables say nothing that its lines do not
            self._write(json.dumps({"level": "info", "source": "server", "message": line}))

    def _tell(self, record: Mapping[str, object]) -> None:
        if self._json:
            self._write(json.dumps(record, default=str))
            return
        fields = {**record}
        time, level, source, message = (fields.pop(name, "") for name in ("time", "level", "source", "message"))
        values = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        self._write(f"{time} {str(level)[:1].upper()} {source}] {message} {values}".rstrip())

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _object_of(line: str) -> dict[str, object] | None:
    """Return the JSON object of a line; None for any other line."""
    try:
        found = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
