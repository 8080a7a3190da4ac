"""One log of the supervisor, the server and its models: as Triton writes it, or a JSON object a line."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]
LogLevel = Literal["info", "warning", "error"]

_TRITON = re.compile(
    r'(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (?P<level>[IWEF]) \d+ (?P<at>\S+)\] ?"?(?P<message>.*?)"?$'
)
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "error"}


class Log:
    """Writes lines to ``stream``. A model may write JSON objects of its own; they pass unchanged."""

    def __init__(self, stream: TextIO, log_format: LogFormat) -> None:
        self._stream = stream
        self._json = log_format == "json"

    def event(self, message: str, level: LogLevel = "info", **fields: object) -> None:
        """Something that the supervisor did or saw."""
        time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._json:
            record = {"time": time, "level": level, "source": "glioserve", "message": message, **fields}
            self._write(json.dumps(record, default=str))
        else:
            values = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
            self._write(f"{time} {level[0].upper()} glioserve] {message} {values}".rstrip())

    def server_line(self, line: str) -> None:
        """Log a line that the server or one of its models wrote."""
        if not self._json or line.startswith("{"):
            self._write(line)
        elif match := _TRITON.match(line):
            if match["message"]:
                record = {"time": match["time"], "level": _LEVELS[match["level"]], "source": match["at"]}
                self._write(json.dumps({**record, "message": match["message"]}))
        elif line.strip() and line[0] not in "+|":  # Triton's tables say nothing that its lines do not
            self._write(json.dumps({"level": "info", "source": "server", "message": line}))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
