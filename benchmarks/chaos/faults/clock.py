"""The server's wall clock jumps, by a small library in its processes; their monotonic clocks go on."""

from __future__ import annotations

import struct
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.deployment import Deployment
from chaos.faults.fault import Fault, Others, Strike

HOUR_S = 3600
_SOURCE = Path(__file__).with_name("shifted_clock.c")
_FILE = "clock"


def with_clock(folder: Path) -> dict[str, str]:
    """Return the environment of processes whose clock the file in ``folder`` moves."""
    folder.mkdir(exist_ok=True)
    library = folder / "shifted_clock.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(_SOURCE), "-o", str(library), "-ldl"], check=True)
    (folder / _FILE).write_bytes(bytes(8))
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(folder / _FILE)}


def jump(seconds: int) -> Strike:
    """Move the clock by so many seconds, and back."""

    @contextmanager
    def strike(deployment: Deployment) -> Iterator[Others]:
        _move(deployment, seconds)
        yield Others()
        _move(deployment, 0)

    return strike


def _move(deployment: Deployment, seconds: int) -> None:
    with (deployment.folder / _FILE).open("r+b", buffering=0) as file:  # the processes have mapped this very file
        file.write(struct.pack("q", seconds))


CLOCK_FAULTS = (
    Fault("the server's clock jumps an hour ahead for 5 s", jump(HOUR_S), lasts_s=5.0),
    Fault("the server's clock jumps a day back for 5 s", jump(-24 * HOUR_S), lasts_s=5.0),
)
