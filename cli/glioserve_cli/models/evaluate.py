"""``glioserve evaluate ARTIFACT | --url HOST:PORT --cohort cohort.csv --out DIR``: how good a network is.

The figures are the same for an artifact, an exported version and a live server.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_connection_arguments, connection_of, url
from glioserve_cli.client_tracing import traced
from glioserve_contract.install import install_advice
from glioserve_contract.tensors import ENSEMBLE
from glioserve_evaluation.figures.assess import assess
from glioserve_evaluation.reports.report import Settings
from glioserve_evaluation.reports.write import summary_lines, write_evaluation
from glioserve_evaluation.runs.cohort import load_cohort
from glioserve_evaluation.runs.results import ResultStore, require_answers
from glioserve_evaluation.runs.run import run_cases
from glioserve_evaluation.runs.sources import PredictionSource, ServerSource, open_offline_source
from glioserve_export.version_files import RECIPE_FILE
from glioserve_preprocess.files import load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
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
    server.add_argument("--model", default=ENSEMBLE.name, metavar="NAME", help="default: %(default)s")
    server.add_argument("--identified", action="store_true", help="send the DICOM files as they are, names and all")
    add_connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate: exit code 0, or 2 for a wrong use; our errors (no cohort, no network, no answer at all) end in 1."""
    problem = _misuse(args)
    if problem:
        print(f"glioserve evaluate: {problem}", file=sys.stderr)
        return 2
    if _needs_torch(args) and find_spec("torch") is None:
        advice = install_advice("evaluate", "export")
        print(f"An artifact, and every fit, needs PyTorch: {advice}", file=sys.stderr)
        return 1
    cohort, source = load_cohort(args.cohort), _source(args)
    with ResultStore(args.out, cohort, source.model, resume=args.resume) as store:
        if store.pending:
            with traced(args.otlp_endpoint):
                _run(store, source, args.out, len(cohort.cases))
        require_answers(store.outcomes)
        assert store.model is not None  # an answer brings its network's facts
        settings = Settings(args.interval, args.bins, args.bootstrap, args.seed, args.wanted_sensitivity)
        report = assess(store.outcomes, store.model, cohort.digest, settings)
        paths = write_evaluation(report, store.outcomes, args.out)
        for line in summary_lines(report):
            print(line)
        if args.fit_temperature is not None or args.fit_threshold is not None:
            _fit(args, store, cohort.digest)
    print("Look at: " + "  ".join(map(str, paths)))
    return 0


def _source(args: argparse.Namespace) -> PredictionSource:
    if args.network is not None:
        return open_offline_source(args.network, args.workers)
    return ServerSource(
        args.url,
        workers=args.workers,
        model_name=args.model,
        identified=args.identified,
        **connection_of(args),
    )


def _run(store: ResultStore, source: PredictionSource, out: Path, total: int) -> None:
    _note(f"{total - len(store.pending)} of {total} studies are done; results are kept in {out}")
    try:
        with source.opened() as (predictor, executor):
            run_cases(store, predictor, executor=executor, model=source.model)
    except KeyboardInterrupt:
        _note(f"interrupted: {len(store.outcomes)} outcomes are kept; the same command goes on from there")
        raise


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


def _needs_torch(args: argparse.Namespace) -> bool:
    """Return whether PyTorch is needed, before hours of studies; an exported version alone is evaluated without it."""
    fits = args.fit_temperature is not None or args.fit_threshold is not None
    return fits or (args.network is not None and (args.network / "weights.safetensors").is_file())


def _fit(args: argparse.Namespace, store: ResultStore, cohort_digest: str) -> None:
    from glioserve_evaluation.fit import fit, write_fitted  # needs PyTorch, which the extra evaluate does not bring

    target = args.fit_temperature or args.fit_threshold
    fitted = fit(
        store.outcomes,
        load_recipe(args.network / RECIPE_FILE),
        cohort_digest,
        temperature=args.fit_temperature is not None,
        wanted_sensitivity=args.wanted_sensitivity if args.fit_threshold is not None else None,
    )
    recipe = write_fitted(args.network, target, fitted)
    print(f"{target}: temperature {recipe.temperature:g}, threshold {recipe.threshold:.4g}; judge it on another cohort")


def _note(text: str) -> None:
    print(text, file=sys.stderr)
