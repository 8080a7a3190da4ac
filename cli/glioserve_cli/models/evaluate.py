"""``glioserve evaluate ARTIFACT | --url HOST:PORT --cohort cohort.csv --out DIR``: how good a network is.

Binds the exporter's evaluation to the client: the same figures for an artifact, an exported version and a live server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_tls_arguments, tls_of, url
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_contract.tensors import ENSEMBLE

if TYPE_CHECKING:
    from glioserve_client import GliomaClient
    from glioserve_evaluation.reports.report import EvaluationReport, Settings
    from glioserve_evaluation.runs.prediction import ModelFacts, Prediction, Predictor
    from glioserve_evaluation.runs.results import Outcome, ResultStore

READY_TIMEOUT_S = 60.0
"""For a server that is only starting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument(
        "network",
        nargs="?",
        type=Path,
        metavar="ARTIFACT",
        help="an artifact, or an exported or published version (classifier/1), to evaluate offline",
    )
    parser.add_argument("--url", type=url, metavar="HOST:PORT", help="evaluate the server at this gRPC address instead")
    parser.add_argument("--cohort", type=Path, required=True, metavar="CSV", help="table of study, label, group, case")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results and report go")
    parser.add_argument("--workers", type=argtypes.count, default=1, metavar="N", help="studies at a time (default: 1)")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with the results in DIR, or begin anew (default: go on)",
    )
    figures = parser.add_argument_group("figures")
    figures.add_argument(
        "--interval",
        choices=("wilsoncc", "wilson", "exact", "wald"),
        default="wilsoncc",
        help="of the proportions (default: %(default)s, Wilson with continuity correction)",
    )
    figures.add_argument(
        "--bins", type=argtypes.count, default=10, metavar="N", help="of the calibration (default: 10)"
    )
    figures.add_argument(
        "--bootstrap",
        type=argtypes.count,
        default=2000,
        metavar="N",
        help="resampled cohorts for the AUC (default: 2000)",
    )
    figures.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    figures.add_argument(
        "--wanted-sensitivity", type=argtypes.share, metavar="S", help="say which threshold reaches it, 0 to 1"
    )
    fitting = parser.add_argument_group(
        "fitting", "on a validation cohort, never on the one that is reported; one folder for both fits both"
    )
    fitting.add_argument(
        "--fit-temperature", type=Path, metavar="NEW", help="write a copy of ARTIFACT with the fitted temperature"
    )
    fitting.add_argument(
        "--fit-threshold",
        type=Path,
        metavar="NEW",
        help="write a copy of ARTIFACT with the threshold of --wanted-sensitivity",
    )
    server = parser.add_argument_group("server")
    server.add_argument(
        "--timeout-s", type=argtypes.seconds(), default=DEFAULT_TIMEOUT_S, metavar="S", help="of one study"
    )
    server.add_argument("--model", default=ENSEMBLE.name, metavar="NAME", help="default: %(default)s")
    server.add_argument("--identified", action="store_true", help="send the DICOM files as they are, names and all")
    add_tls_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0 when evaluated, 2 for a wrong use; our errors (no cohort, no network, no answer at all) end in 1."""
    problem = _misuse(args)
    if problem:
        print(f"glioserve evaluate: {problem}", file=sys.stderr)
        return 2
    if _wants_torch(args) and find_spec("torch") is None:
        print("An artifact, and every fit, needs PyTorch: pip install 'glioserve[evaluate,export]'", file=sys.stderr)
        return 1
    from glioserve_evaluation.figures.assess import assess
    from glioserve_evaluation.reports.write import summary_lines, write_evaluation
    from glioserve_evaluation.runs.cohort import load_cohort
    from glioserve_evaluation.runs.results import ResultStore
    from glioserve_evaluation.runs.run import run_cases

    cohort = load_cohort(args.cohort)
    source = _Server(args) if args.network is None else _offline(args)
    with ResultStore(args.out, cohort, source.model, resume=args.resume) as store:
        if store.pending:
            todo = len(store.pending)
            _tell(f"{len(cohort.cases) - todo} of {len(cohort.cases)} studies are done; results are kept in {args.out}")
            try:
                with source.opened() as (predictor, executor):
                    run_cases(store, predictor, executor=executor, model=source.model)
            except KeyboardInterrupt:
                _tell(f"interrupted: {len(store.outcomes)} outcomes are kept; the same command goes on from there")
                raise
        _require_answers(store)
        assert store.model is not None  # an answer brings its network's facts
        report = assess(store.outcomes, store.model, cohort.digest, _settings(args))
        paths = write_evaluation(report, store.outcomes, args.out)
        for line in summary_lines(report):
            print(line)
        _fit(args, store.outcomes, report)
    print("Look at: " + "  ".join(map(str, paths)))
    return 0


def _misuse(args: argparse.Namespace) -> str:
    fits = [folder for folder in (args.fit_temperature, args.fit_threshold) if folder is not None]
    if (args.network is None) == (args.url is None):
        return "say what to evaluate: an ARTIFACT, or --url HOST:PORT"
    if fits and args.network is None:
        return "--fit-temperature and --fit-threshold change an ARTIFACT's recipe, not a running server's"
    if args.fit_threshold is not None and args.wanted_sensitivity is None:
        return "--fit-threshold needs --wanted-sensitivity"
    if len(set(fits)) > 1:
        return "--fit-temperature and --fit-threshold together must name one folder, which gets both"
    if any(folder.exists() for folder in fits):
        return f"{fits[0]} exists already: name a new folder for the fitted copy"
    return ""


def _wants_torch(args: argparse.Namespace) -> bool:
    """Told before hours of studies, not after them. An exported version alone is evaluated without."""
    fits = args.fit_temperature is not None or args.fit_threshold is not None
    return fits or (args.network is not None and (args.network / "weights.safetensors").is_file())


def _settings(args: argparse.Namespace) -> Settings:
    from glioserve_evaluation.reports.report import Settings

    return Settings(args.interval, args.bins, args.bootstrap, args.seed, args.wanted_sensitivity)


@dataclass(frozen=True)
class _Offline:
    """An artifact or exported version; several workers are processes, each with its share of the cores."""

    predictor: Predictor
    model: ModelFacts
    workers: int
    threads: int | None

    @contextmanager
    def opened(self) -> Iterator[tuple[Predictor, Executor | None]]:
        """The predictor and what runs it."""
        if self.workers == 1:
            yield self.predictor, None
            return
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        from glioserve_evaluation.runs.predictors import start_worker

        # Spawned, not forked: the threads of ITK and ONNX Runtime do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, start_worker, (self.threads,)) as pool:
            yield self.predictor, pool


def _offline(args: argparse.Namespace) -> _Offline:
    from glioserve_evaluation.runs.predictors import open_offline
    from glioserve_preprocess.pipeline import available_cores

    threads = None if args.workers == 1 else max(1, available_cores() // args.workers)
    predictor = open_offline(args.network, threads)
    return _Offline(predictor, predictor.model, args.workers, threads)


class _Server:
    """A live server, which says with each answer which network gave it; several workers are threads of one client."""

    model = None

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    @contextmanager
    def opened(self) -> Iterator[tuple[Predictor, Executor | None]]:
        """The predictor and what runs it; GLIO-4101 where the server does not become ready."""
        from concurrent.futures import ThreadPoolExecutor

        from glioserve_client import GliomaClient

        args = self._args
        with GliomaClient(
            args.url, timeout_s=args.timeout_s, tls=tls_of(args), model_name=args.model, identified=args.identified
        ) as client:
            client.wait_until_ready(READY_TIMEOUT_S)
            if args.workers == 1:
                yield LivePredictor(client), None
                return
            with ThreadPoolExecutor(args.workers) as pool:
                yield LivePredictor(client), pool


@dataclass(frozen=True)
class LivePredictor:
    """A predictor that asks a server; it de-identifies as the client does."""

    client: GliomaClient

    def __call__(self, study: Path) -> Prediction:
        """Read and send."""
        from glioserve_client import DicomStudy
        from glioserve_evaluation.runs.prediction import prediction_of

        answer = self.client.predict(DicomStudy.from_directory(study), heatmap=False)
        return prediction_of(answer.report, "server", answer.model.version)


def _require_answers(store: ResultStore) -> None:
    outcomes = store.outcomes
    if not any(o.score is not None for o in outcomes):
        errors = ", ".join(sorted({f"{o.error}: {o.detail}" for o in outcomes})[:3])
        raise GlioserveError(ErrorCode.INVALID_COHORT, f"Not one of {len(outcomes)} studies was answered ({errors}).")


def _fit(args: argparse.Namespace, outcomes: tuple[Outcome, ...], report: EvaluationReport) -> None:
    target = args.fit_temperature or args.fit_threshold
    if target is None:
        return
    from glioserve_evaluation.fit import fit, write_fitted
    from glioserve_export.version_files import RECIPE_FILE
    from glioserve_preprocess.files import load_recipe

    found = fit(
        outcomes,
        load_recipe(args.network / RECIPE_FILE),
        report.cohort_digest,
        temperature=args.fit_temperature is not None,
        wanted_sensitivity=args.wanted_sensitivity if args.fit_threshold is not None else None,
    )
    recipe = write_fitted(args.network, target, found)
    print(f"{target}: temperature {recipe.temperature:g}, threshold {recipe.threshold:.4g}; judge it on another cohort")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
