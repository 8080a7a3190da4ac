"""``glioserve predict STUDY --url HOST:PORT``: send a study, show the answer, leave it as files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_series_argument, add_tls_arguments, add_token_argument, tls_of, url
from glioserve_client.client import GliomaClient
from glioserve_client.options import NO_RETRY, RetryPolicy
from glioserve_client.outputs import summary, write_outputs
from glioserve_client.prediction import Prediction
from glioserve_client.study import DicomStudy, Study, VolumeStudy
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_contract.tensors import ENSEMBLE

_NAMES = ", ".join(f"{m}=FILE" for m in Modality)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "study", nargs="+", metavar="STUDY", help=f"a folder or zip archive of DICOM files, or NIfTI files: {_NAMES}"
    )
    parser.add_argument("--url", required=True, type=url, metavar="HOST:PORT", help="the server's gRPC address")
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json, .html, heatmap.nii.gz, overlay.png")
    parser.add_argument(
        "--dicom-results",
        action="store_true",
        help="write the answer as DICOM too: structured report, Parametric Map, Segmentation, Secondary Capture",
    )
    parser.add_argument(
        "--timeout-s",
        type=argtypes.seconds(),
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help="seconds for the whole call, retries included (default: %(default)g)",
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
    add_tls_arguments(parser)
    add_token_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Send the study and show the answer: exit code 0, or 2 for arguments that do not name a study."""
    try:
        if args.dicom_results and (args.out is None or args.no_heatmap):
            raise ValueError("--dicom-results needs --out, and the heat map")
        tls, study = tls_of(args), _study(args.study)
        _progress(args, "reading done, sending the study …")
        with GliomaClient(
            args.url,
            timeout_s=args.timeout_s,
            tls=tls,
            retry=NO_RETRY if args.no_retry else RetryPolicy(),
            model_name=args.model,
            identified=args.identified,
            headers=args.headers,
        ) as client:
            prediction = client.predict(study, heatmap=not args.no_heatmap, series=dict(args.series))
        print(prediction.report_json() if args.json else summary(prediction))
        if args.out is not None:
            _progress(args, "writing the answer …")
            written = write_outputs(prediction, args.out, study)
            for warning in written.warnings:
                print(f"warning: {warning}", file=sys.stderr)
            paths = [*written.paths, *(_dicom_results(args, prediction, study) if args.dicom_results else ())]
            if not args.json:
                print("\n" + "\n".join(str(path) for path in paths))
    except GlioserveError as error:
        if error.path is not None:  # the caller's own terminal may see the caller's own file name
            print(f"in {error.path}:", file=sys.stderr)
        if error.request_id:
            print(f"request {error.request_id}, attempts: {error.attempts}", file=sys.stderr)
        raise
    except (ValueError, OSError) as error:
        print(f"glioserve predict: {error}", file=sys.stderr)
        return 2
    return 0


def _dicom_results(args: argparse.Namespace, prediction: Prediction, study: Study) -> tuple[Path, ...]:
    from glioserve_client.filing import make_results  # the extra that it needs is not in every installation

    return make_results(prediction, study).write(args.out)


def _study(arguments: list[str]) -> Study:
    if len(arguments) == 1 and ("=" not in arguments[0] or Path(arguments[0]).is_dir()):
        return DicomStudy.from_directory(arguments[0])
    paths: dict[Modality, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or name not in {m.value for m in Modality} or not path:
            raise ValueError(f"STUDY must be one folder or zip archive, or any of {_NAMES}; not {argument!r}")
        if Modality(name) in paths:
            raise ValueError(f"{name} is given twice; give each sequence once")
        paths[Modality(name)] = path
    return VolumeStudy.from_nifti(paths)


def _progress(args: argparse.Namespace, text: str) -> None:
    if sys.stderr.isatty() and not args.json:
        print(text, file=sys.stderr)
