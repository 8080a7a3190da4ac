"""Measure the Python client: its overhead, de-identification, memory, import and shared memory; and print its bars.

``make bench NAME=client ARGS='[--rounds 9] [--calls 1000]'``. Every figure is of a fresh process, in CPU seconds of all
its threads; what is compared takes turns in one process, and the figure is the median of the rounds' ratios, so that a
busy machine slows both alike. CPU seconds alone still grow on a busy machine: its load is in the result.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median
from typing import Any

from bars import Bar, print_bars
from client.answering import answering
from client.studies import bytes_of, dicom_folder
from common import print_table, write_result

IMPORTS = 9
SMALL, LARGE = 256, 512
"""Rows of the files of the two studies of 120 MB: 960 small files, or 240."""
SHARED_MB = 100


def task(*arguments: object) -> dict[str, Any]:
    """The figures of a task, in a process of its own."""
    command = [sys.executable, "-m", "client.tasks", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Median over the rounds of the one's time over the other's."""
    return median(a / b for a, b in zip(times[one], times[other], strict=True))


def main() -> int:
    """Measure all, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=1000)
    args = parser.parse_args()
    small, large = dicom_folder(SMALL), dicom_folder(LARGE)
    imports = [task("imported") for _ in range(IMPORTS)]
    imported, used = (min(each[name] for each in imports) for name in ("cpu_s", "used_cpu_s"))
    made = {name: task("deidentified", folder, 5) for name, folder in (("small", small), ("large", large))}
    with answering() as url:
        overhead = {kind: task("overhead", url, kind, small, args.rounds) for kind in ("volumes", "dicom")}
        memory = {place: task("memory", url, large, place)["peak_bytes"] for place in ("disk", "memory")}
        many = task("many", url, args.calls)
    shared = task("handed_over", SHARED_MB, args.rounds)

    rows = [
        [f"{len(list(folder.iterdir()))} files", made[name]["read"], made[name]["deidentify"], made[name]["encode"]]
        for name, folder in (("small", small), ("large", large))
    ]
    print_table("120 MB of DICOM, CPU seconds", ["study", "read", "de-identify", "encode"], rows)
    rows = [[kind, *(median(times[way]) for way in ("ours", "tritonclient"))] for kind, times in overhead.items()]
    print_table("A call, CPU seconds of the caller", ["input", "ours", "tritonclient"], rows)
    rows = [[who, *(median(times[way]) for way in ("wire", "shared"))] for who, times in shared.items()]
    print_table(f"{SHARED_MB} MB of volumes handed over, CPU seconds", ["of", "wire", "shared memory"], rows)

    share = {place: peak / bytes_of(large) for place, peak in memory.items()}
    growth = many["last_bytes"] / many["first_bytes"]
    note = f"{len(list(small.iterdir()))} files"
    cheaper = {who: ratio(times, "wire", "shared") for who, times in shared.items()}
    bars = [
        Bar("overhead over tritonclient, volumes", ratio(overhead["volumes"], "ours", "tritonclient"), 1.03, "x CPU"),
        Bar("overhead over tritonclient, DICOM files", ratio(overhead["dicom"], "ours", "tritonclient"), 1.03, "x CPU"),
        Bar("de-identification of 120 MB, large files", made["large"]["deidentify"], 0.6, "CPU s"),
        Bar("de-identification of 120 MB, small files", made["small"]["deidentify"], 0.6, "CPU s", note=note),
        Bar("peak memory of predict, from a folder", share["disk"], 2.2, "x study", note="the message, gRPC's copy"),
        Bar("peak memory of predict, from bytes", share["memory"], 2.2, "x study", note="and the caller's own"),
        Bar("shared memory, the client's CPU", cheaper["client"], 5, "x cheaper", at_least=True),
        Bar("shared memory, with tritonserver's", cheaper["both"], 5, "x cheaper", at_least=True),
        Bar("import glioserve_client", imported, 0.35, "CPU s"),
        Bar("import, DicomStudy and GliomaClient used", used, 0.35, "CPU s"),
        Bar(f"memory at call {args.calls}, call {args.calls // 10} = 1", growth, 1.1, "x"),
        Bar("objects of Python grown", many["last_objects"] - many["first_objects"], 100),
        Bar("descriptors grown", many["last_descriptors"] - many["first_descriptors"], 0),
    ]
    print_bars(bars)
    figures = {
        "import_cpu_s": imported,
        "import_used_cpu_s": used,
        "deidentified_cpu_s": made,
        "overhead_cpu_s": overhead,
        "memory": {"peak_bytes": memory, "study_bytes": bytes_of(large)},
        "many": many,
        "shared_memory_cpu_s": shared,
        "bars": [bar.record() for bar in bars],
    }
    packages = ("grpcio", "protobuf", "numpy", "pydicom", "tritonclient")
    write_result("client", vars(args), figures, packages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
