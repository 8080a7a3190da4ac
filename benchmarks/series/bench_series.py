"""Count what the choice of series answers right, refuses or sends to review, and answers wrong.

``make bench NAME=series [ARGS='--studies 300 --renamed 500']``: the table of headers, the cases of ``series/cases.py``,
what people write about contrast agents in ten languages, synthetic studies with faults drawn by seed
(``series/studies.py``), and studies whose T1 and T1ce have each other's descriptions or none. A wanted sequence that is
not in the study has to be refused. Everything goes through the client's de-identification too, of the synthetic
studies a share; where the two ways differ, it is a disagreement. ``--case TEXT`` runs what has TEXT in its name alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from bars import Bar, print_bars
from common import ROOT, print_table, write_result
from glioserve_contract import GlioserveError
from glioserve_dicom.read import read
from glioserve_phantom.clinical.series import files_of
from glioserve_preprocess.pipeline import compared_by_images, looked_at, voxels_of
from glioserve_preprocess.series.acquisition import acquisition_of
from glioserve_preprocess.series.evidence import judge
from glioserve_preprocess.series.selection import choose_series
from series.answers import (
    CLIENT,
    MIN_SLICES,
    OFFLINE,
    REFUSED,
    RIGHT,
    WRONG,
    Outcome,
    StudyCase,
    judged,
    shares,
)
from series.cases import AGENT_TEXTS, CASES, twenty_series
from series.studies import FAULTS, STUDIES_A_PATIENT, drawn_study, renamed_study

sys.path.insert(0, str(ROOT / "tests"))
from preprocess.series.header_table import AMBIGUOUS, EXCLUDED, OPEN, ROWS, Row
from support.studies.dicom_files import mr_dataset, sent

CLIENT_SHARE = 3
"""One synthetic study in so many goes through the client as well."""
MOST_CPU_S = 5.0
"""Bar on the choice within 20 series, in CPU seconds."""
MOST_SHOWN = 40
SWAP = {("t1", "t1ce"), ("t1ce", "t1")}
Maker = Callable[[], StudyCase]


@dataclass(frozen=True)
class _Task:
    """One study to answer, by the ways named."""

    make: Maker
    ways: tuple[str, ...]

    def __call__(self) -> list[Outcome]:
        """Make and answer the study."""
        return judged(self.make(), self.ways)


def _run(task: _Task) -> list[Outcome]:
    return task()


def answered(makers: Sequence[Maker], jobs: int, what: str, client_share: int = 1) -> list[Outcome]:
    """Answer every study offline and one in ``client_share`` through the client, in order."""
    tasks = [_Task(make, (OFFLINE, CLIENT) if i % client_share == 0 else (OFFLINE,)) for i, make in enumerate(makers)]
    outcomes: list[Outcome] = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for done, found in enumerate(pool.imap(_run, tasks, chunksize=STUDIES_A_PATIENT), start=1):
            outcomes += found
            if done % 50 == 0:
                print(f"{what}: {done} of {len(tasks)}", flush=True)
    return outcomes


def header_outcomes() -> list[Outcome]:
    """Judge every row of the header table, as its file is and as the client sends it."""
    outcomes = []
    for row in ROWS:
        whole = mr_dataset(
            SeriesDescription=None, Manufacturer=None, ImageType=None, RepetitionTime=None, EchoTime=None
        )
        whole.update(row.dataset())
        for way, dataset in ((OFFLINE, whole), (CLIENT, sent(whole))):
            evidence = judge(acquisition_of(dataset))
            said = OPEN if evidence.contrast_open else str(evidence.modality) if evidence.modality else ""
            outcomes.append(Outcome(row.name, (), way, _row_verdict(row, said), chosen={row.expected: said}))
    return outcomes


def _row_verdict(row: Row, said: str) -> str:
    if said == row.expected or (not said and row.expected in (EXCLUDED, AMBIGUOUS)):
        return RIGHT
    return WRONG if said and not (said == OPEN and row.expected in ("t1", "t1ce")) else REFUSED


def disagreements(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """Return the pairs of one study's two ways that are not the same.

    Raises:
        ValueError: Two studies share a name, so that their ways cannot be told apart.
    """
    by_name: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        if outcome.way in by_name.setdefault(outcome.name, {}):
            raise ValueError(f"two studies are called {outcome.name!r}")
        by_name[outcome.name][outcome.way] = outcome
    pairs = [(ways[OFFLINE], ways[CLIENT]) for ways in by_name.values() if CLIENT in ways]
    return [(offline, client) for offline, client in pairs if offline.same_as != client.same_as]


def silent_swaps(outcomes: Sequence[Outcome]) -> int:
    """Return the number of answers in which T1 stands for T1ce or the other way round, without a review."""
    return sum(
        any((m, name.split()[0]) in SWAP for m, name in o.chosen.items()) for o in outcomes if o.verdict == WRONG
    )


def choice_cpu_s() -> float:
    """Return CPU seconds of the choice within a study of 20 series whose headers leave the agent open."""
    case = twenty_series()
    instances = read(files_of(case.name, case.series)[0], accept_identified=True)
    start = time.process_time()
    try:
        choose_series(
            instances, case.channels, MIN_SLICES, compare=compared_by_images, look=looked_at, voxels=voxels_of
        )
    except GlioserveError as error:
        print(f"20 series: {error.code.token}")
    return time.process_time() - start


def print_outcomes(groups: dict[str, list[Outcome]]) -> None:
    """Print the confusion table, the faults, the codes, and what was answered wrong."""
    rows: list[list[object]] = []
    for group, found in groups.items():
        for missing in (False, True):
            part = [o for o in found if o.missing is missing]
            if part:
                name = f"{group}, a sequence missing" if missing else group
                poorer = sum(o.verdict == RIGHT and not o.preferred for o in part)
                rows.append([name, len(part), *shares(part).values(), poorer])
    print_table("Answers", ["", "answers", RIGHT, REFUSED, WRONG, "right, not the preferred"], rows)
    studies = groups["synthetic studies"]
    faults = [[f, len(of), *shares(of).values()] for f in FAULTS if (of := [o for o in studies if f in o.faults])]
    print_table("Synthetic studies by fault", ["", "answers", RIGHT, REFUSED, WRONG], faults)
    codes = Counter((o.code or "review", o.verdict) for found in groups.values() for o in found if o.verdict != WRONG)
    known = sorted({code for code, _ in codes if code != "review"})
    print_table("Codes", ["", RIGHT, REFUSED], [[c, codes[c, RIGHT], codes[c, REFUSED]] for c in known])
    wrong = [o for found in groups.values() for o in found if o.verdict == WRONG]
    for outcome in wrong[:MOST_SHOWN]:
        print(f"WRONG  {outcome.name} ({outcome.way}; {', '.join(outcome.faults)}): {_taken(outcome)}")


def _taken(outcome: Outcome) -> str:
    return outcome.code or "; ".join(f"{m} <- {name}" for m, name in outcome.chosen.items())


def bars(groups: dict[str, list[Outcome]], differing: int, renamed: list[Outcome], cpu_s: float) -> list[Bar]:
    """Return the bars that the project set itself."""
    found = [Bar(f"{group}: answered wrong", shares(of)[WRONG], 0) for group, of in groups.items()]
    return [
        *found,
        Bar("offline and client differ", differing, 0),
        Bar("silent swaps of T1 and T1ce in renamed studies", silent_swaps(renamed), 0),
        Bar("choice within 20 series", cpu_s, MOST_CPU_S, "CPU s"),
    ]


def _named(text: str, studies: int, renamed: int) -> None:
    """Answer what has ``text`` in its name, and print all of it."""
    makers: dict[str, Maker] = {**CASES, **AGENT_TEXTS}
    makers |= {f"study {i}": partial(drawn_study, i) for i in range(studies)}
    makers |= {f"renamed {i}": partial(renamed_study, i) for i in range(renamed)}
    for name, make in makers.items():
        if text in name:
            case = make()
            print(f"\n{name}: {', '.join(case.faults)}")
            for s in case.series:
                text_ = s.attributes.get("SeriesDescription", "")
                print(f"   {s.number:3d} {s.name}: shows {s.shows}; {text_!r}, {len(s.voxels)} slices")
            for o in judged(case):
                print(f"   {o.way}: {o.verdict}: {_taken(o)} {o.detail} ({o.cpu_s:.1f} s)")


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300, help="synthetic studies with faults")
    parser.add_argument("--renamed", type=int, default=500, help="studies with swapped or blank descriptions")
    parser.add_argument("--case", metavar="TEXT", help="answer what has TEXT in its name, and print everything")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.case is not None:
        _named(args.case, args.studies, args.renamed)
        return
    start = time.monotonic()
    renamed = [partial(renamed_study, i) for i in range(args.renamed)]
    groups = {
        "header table": header_outcomes(),
        "cases": answered(list(CASES.values()), args.jobs, "cases"),
        "agent texts": answered(list(AGENT_TEXTS.values()), args.jobs, "agent texts"),
        "synthetic studies": answered(
            [partial(drawn_study, i) for i in range(args.studies)], args.jobs, "studies", CLIENT_SHARE
        ),
        "renamed studies": answered(renamed, args.jobs, "renamed", 4 * CLIENT_SHARE),
    }
    print_outcomes(groups)
    differing = [pair for found in groups.values() for pair in disagreements(found)]
    for one, other in differing[:MOST_SHOWN]:
        print(f"DIFFER {one.name} ({', '.join(one.faults)}): {one.way} {_taken(one)}, {other.way} {_taken(other)}")
    cpu_s = choice_cpu_s()
    found = bars(groups, len(differing), groups["renamed studies"], cpu_s)
    print_bars(found)
    print(f"\n{time.monotonic() - start:.0f} s")
    settings: dict[str, Any] = {"studies": args.studies, "renamed": args.renamed, "min_slices": MIN_SLICES}
    figures = {
        "answers": {group: shares(of) for group, of in groups.items()},
        "faults": {f: shares([o for o in groups["synthetic studies"] if f in o.faults]) for f in FAULTS},
        "bars": [b.record() for b in found],
        "wrong": [asdict(o) for of in groups.values() for o in of if o.verdict == WRONG],
    }
    write_result("series", settings, figures, ("numpy", "pydicom"))


if __name__ == "__main__":
    main()
