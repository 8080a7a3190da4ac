"""Runs every tool on every pair, one after the other, so that a busy machine slows all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import median

from glioserve_dicom.volumes.geometry import Matrix
from peer_process import Answer, Tool, Worker, write_pair
from registration.cases import Case
from registration.truth import mean_distance_mm

FAILED_MM = 2.0
"""A mean target registration error above it, or no answer, is a failure."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One tool on one pair."""

    case: str
    group: str
    tool: Tool
    answer: Answer
    tre_mm: float | None
    """The error; None where the tool gave no transform or the truth is not known."""

    @property
    def failed(self) -> bool:
        """No transform, or one that is off by more than :data:`FAILED_MM`."""
        return self.answer.matrix is None or (self.tre_mm is not None and self.tre_mm > FAILED_MM)


@dataclass(frozen=True)
class FirstCall:
    """Measure the first call of fresh processes beside the second one on the same pair; medians over processes."""

    import_cpu_s: float
    first_cpu_s: float
    warm_cpu_s: float
    first_wall_s: float
    warm_wall_s: float

    @property
    def ratio(self) -> float:
        """First to warm, the worse of CPU and wall time."""
        return max(self.first_cpu_s / self.warm_cpu_s, self.first_wall_s / self.warm_wall_s)


def run_cases(
    cases: Iterable[Callable[[], Case]], tools: Sequence[Tool], warm: Sequence[Tool], folder: Path, jobs: int = 1
) -> list[Outcome]:
    """All ``tools`` on all ``cases``, printed as they come; ``jobs`` pairs at a time, each tool on one thread.

    ``warm``: tools whose processes register their first pair once more before it counts.
    """
    with ExitStack() as stack:
        lanes: SimpleQueue[tuple[Path, list[Worker], set[str]]] = SimpleQueue()
        for lane in range(jobs):
            place = folder / f"lane-{lane}"
            place.mkdir(parents=True, exist_ok=True)
            workers = [stack.enter_context(Worker(tool, place)) for tool in tools]
            lanes.put((place, workers, {tool.name for tool in warm}))

        def run(make: Callable[[], Case]) -> list[Outcome]:
            place, workers, cold = lanes.get()
            try:
                case = make()
                pair = write_pair(case.reference, case.moving, place / "pair.npz")
                outcomes = []
                for worker in workers:
                    if worker.tool.name in cold:
                        cold.discard(worker.tool.name)
                        first = worker.register(pair)
                        print(f"{worker.tool.name}: first call {first.cpu_s:.2f} CPU s, discarded", flush=True)
                    outcomes.append(_outcome(case, worker.tool, worker.register(pair)))
            finally:
                lanes.put((place, workers, cold))
            print(f"{case.name}: " + ", ".join(map(_words, outcomes)), flush=True)
            return outcomes

        with ThreadPoolExecutor(jobs) as pool:
            futures: list[Future[list[Outcome]]] = [pool.submit(run, make) for make in cases]
            return [outcome for future in futures for outcome in future.result()]


def first_call(tool: Tool, case: Case, folder: Path, processes: int = 3) -> FirstCall:
    """``processes`` fresh processes that each register ``case`` twice."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = write_pair(case.reference, case.moving, folder / "first.npz")
    imports, firsts, warms = [], [], []
    for _ in range(processes):
        with Worker(tool, folder) as worker:
            imports.append(worker.import_cpu_s)
            firsts.append(worker.register(pair))
            warms.append(worker.register(pair))
    return FirstCall(
        median(imports),
        median(a.cpu_s for a in firsts),
        median(a.cpu_s for a in warms),
        median(a.wall_s for a in firsts),
        median(a.wall_s for a in warms),
    )


def matrices_of(outcomes: Sequence[Outcome], case: str) -> dict[str, Matrix]:
    """Return the matrices by tool, of the tools that gave one."""
    return {o.tool.name: o.answer.matrix for o in outcomes if o.case == case and o.answer.matrix is not None}


def _outcome(case: Case, tool: Tool, answer: Answer) -> Outcome:
    known = answer.matrix is not None and case.true is not None
    tre_mm = None
    if known:
        assert answer.matrix is not None
        assert case.true is not None
        tre_mm = mean_distance_mm(answer.matrix, case.true, case.points_lps_mm)
    return Outcome(case.name, case.group, tool, answer, tre_mm)


def _words(outcome: Outcome) -> str:
    answer = outcome.answer
    if answer.matrix is None:
        return f"{outcome.tool.name} no answer ({answer.error[:60]})"
    error = "" if outcome.tre_mm is None else f" {outcome.tre_mm:.2f} mm"
    review = " REVIEW" if answer.verdict == "review" else ""
    return f"{outcome.tool.name}{error}{review} {answer.cpu_s:.1f} s"
