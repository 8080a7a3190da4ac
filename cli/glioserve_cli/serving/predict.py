"""``glioserve predict STUDY... --url HOST:PORT``: send studies, show the answers, leave them as files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from glioserve_cli.client_arguments import add_connection_arguments, add_series_argument, connection_of, url
from glioserve_cli.client_tracing import traced
from glioserve_cli.serving.failures import USAGE, as_json, exit_code, exit_code_of_many
from glioserve_client.client import GliomaClient
from glioserve_client.options import NO_RETRY, RetryPolicy
from glioserve_client.outputs import summary, write_outputs
from glioserve_client.prediction import Prediction
from glioserve_client.study import DicomStudy, Study, VolumeStudy
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.tensors import ENSEMBLE
from glioserve_dicom.files.folder import DIRECTORY_NAME

_NAMES = ", ".join(f"{m}=FILE" for m in Modality)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "study", nargs="+", metavar="STUDY", help=f"folders, zip archives or DICOMDIRs, or NIfTI files: {_NAMES}"
    )
    parser.add_argument("--url", required=True, type=url, metavar="HOST:PORT", help="the server's gRPC address")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print reports and errors as JSON: one object, or a line for each of several studies",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write report.json, .html, heatmap.nii.gz, overlay.png; of several studies, a folder for each",
    )
    parser.add_argument(
        "--dicom-results",
        action="store_true",
        help="write the answer as DICOM too: structured report, Parametric Map, Segmentation, Secondary Capture",
    )
    parser.add_argument(
        "--fhir",
        action="store_true",
        help="write the answer as FHIR R4 too: DiagnosticReport, Observations and Device, as JSON",
    )
    parser.add_argument("--no-retry", action="store_true", help="fail at once when the server cannot be reached")
    parser.add_argument("--no-heatmap", action="store_true", help="do not ask for the heat map")
    add_series_argument(parser)
    parser.add_argument(
        "--model", default=ENSEMBLE.name, metavar="NAME", help="the model to ask (default: %(default)s)"
    )
    parser.add_argument(
        "--identified",
        action="store_true",
        help="send the DICOM files as they are, with the patient's name; the server must be set to accept them",
    )
    add_connection_arguments(parser)


def tell_misuse(message: str) -> None:
    """Print wrong arguments as an object, for a caller who asked for JSON."""
    print(json.dumps({"error": as_json(ValueError(message))}, ensure_ascii=False))


def run(args: argparse.Namespace) -> int:
    """Send the studies and show the answers; :data:`glioserve_cli.serving.failures.EXIT_CODES` has the exit codes."""
    try:
        for option, given in (("--dicom-results", args.dicom_results), ("--fhir", args.fhir)):
            if given and (args.out is None or args.no_heatmap):
                raise ValueError(f"{option} needs --out, and the heat map")
        studies = _studies(args.study)
        if len(studies) > 1 and args.series:
            raise ValueError("--series names series of one study; give one study")
        client_of = partial(GliomaClient, args.url, model_name=args.model, identified=args.identified)
        retry = NO_RETRY if args.no_retry else RetryPolicy()
        with traced(args.otlp_endpoint), client_of(retry=retry, **connection_of(args)) as client:
            return _many(args, client, studies) if len(studies) > 1 else _one(args, client, *studies.values())
    except GlioserveError as error:
        _tell(args, error)
        return exit_code(error)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        print(f"glioserve predict: {error}", file=sys.stderr)
        if args.json:
            print(json.dumps({"error": as_json(error)}, ensure_ascii=False))
        return USAGE


def _one(args: argparse.Namespace, client: GliomaClient, read: Callable[[], Study]) -> int:
    study = read()
    _progress(args, "reading done, sending the study …")
    prediction = client.predict(study, heatmap=not args.no_heatmap, series=dict(args.series))
    if not args.json:
        print(summary(prediction))
    paths = _write(args, args.out, prediction, study)
    if args.json:  # last, so that the output is one object: the report, or the error of writing it
        print(prediction.report_json())
    elif paths:
        print("\n" + "\n".join(str(path) for path in paths))
    return 0


def _many(args: argparse.Namespace, client: GliomaClient, studies: Mapping[str, Callable[[], Study]]) -> int:
    """Send the studies and print a line for each as it is done; one that fails does not end the rest."""
    names, errors = list(studies), []
    under_way: dict[int, Study] = {}

    def read(number: int, of: Callable[[], Study]) -> Callable[[], Study]:
        def reading() -> Study:
            under_way[number] = of()
            return under_way[number]

        return reading

    made = [read(number, of) for number, of in enumerate(studies.values())]
    for done, outcome in enumerate(client.predict_many(made, heatmap=not args.no_heatmap), 1):
        name, study = names[outcome.index], under_way.pop(outcome.index, None)
        error = outcome.error
        if outcome.prediction is not None and study is not None:
            try:
                _write(args, args.out and args.out / name, outcome.prediction, study)
            except (GlioserveError, OSError) as problem:
                error = problem
        if error is not None:
            errors.append(error)
        print(_line(args, name, outcome.prediction if error is None else None, error), flush=True)
        _progress(args, f"{done} of {len(names)} done")
    return exit_code_of_many(errors)


def _line(args: argparse.Namespace, name: str, prediction: Prediction | None, error: Exception | None) -> str:
    if args.json:
        result = {"error": as_json(error)} if prediction is None and error is not None else {}
        if prediction is not None:
            result = {"report": json.loads(prediction.report_json())}
        return json.dumps({"study": name, **result}, ensure_ascii=False)
    if prediction is None:
        return f"{name}  {error}"
    return f"{name}  {prediction.score:.3f}  {prediction.label or 'no label'}  quality {prediction.quality.verdict}"


def _tell(args: argparse.Namespace, error: GlioserveError) -> None:
    """Say what failed: for a reader on the error output, and with ``--json`` as an object on the output."""
    if error.path is not None:  # the caller's own terminal may see the caller's own file name
        print(f"in {error.path}:", file=sys.stderr)
    if error.request_id:
        print(f"request {error.request_id}, attempts: {error.attempts}", file=sys.stderr)
    print(error, file=sys.stderr)
    if args.json:
        print(json.dumps({"error": as_json(error)}, ensure_ascii=False))


def _write(args: argparse.Namespace, folder: Path | None, prediction: Prediction, study: Study) -> tuple[Path, ...]:
    """Write the answer's files, where a folder is given, and return their paths."""
    if folder is None:
        return ()
    _progress(args, "writing the answer …")
    written = write_outputs(prediction, folder, study)
    for warning in written.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not (args.dicom_results or args.fhir):
        return written.paths
    from glioserve_client.filing import make_results  # the extra that it needs is not in every installation

    results = make_results(prediction, study) if args.dicom_results else None
    paths = (*written.paths, *(results.write(folder) if results is not None else ()))
    if not args.fhir:
        return paths
    from glioserve_client.filing.fhir import fhir_bundle, write_fhir

    return (*paths, write_fhir(fhir_bundle(prediction, study, results), folder))


def _studies(arguments: list[str]) -> dict[str, Callable[[], Study]]:
    """Return functions that read the studies, by name: folders and archives, or volumes that make one study."""
    if any("=" in argument and not Path(argument).exists() for argument in arguments):
        volumes = _volumes(arguments)
        return {"volumes": lambda: VolumeStudy.from_nifti(volumes)}
    if bare := [argument for argument in arguments if argument.lower().endswith((".nii", ".nii.gz"))]:
        raise ValueError(f"name the sequence of a NIfTI file, as t1={bare[0]}")
    named = {_name(Path(argument).resolve()): argument for argument in arguments}
    if len(named) < len(arguments):
        raise ValueError("two studies have the same name; the last part of each path must differ")
    return {name: partial(DicomStudy.from_directory, argument) for name, argument in named.items()}


def _name(path: Path) -> str:
    """Return a study's name: the last part of its path, or the folder's where a medium's DICOMDIR was given."""
    return path.parent.name if path.name.upper() == DIRECTORY_NAME else path.name


def _volumes(arguments: list[str]) -> dict[Modality, str]:
    paths: dict[Modality, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or name not in {m.value for m in Modality} or not path:
            raise ValueError(f"STUDY must be folders or zip archives, or any of {_NAMES}; not {argument!r}")
        if Modality(name) in paths:
            raise ValueError(f"{name} is given twice; give each sequence once")
        paths[Modality(name)] = path
    return paths


def _progress(args: argparse.Namespace, text: str) -> None:
    if sys.stderr.isatty() and not args.json:
        print(text, file=sys.stderr)
