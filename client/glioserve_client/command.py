"""``glioserve predict STUDY --url HOST:PORT``: send a study, show the answer, leave it as files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from glioserve_client.client import GliomaClient
from glioserve_client.errors import CodedError
from glioserve_client.options import NO_RETRY, RetryPolicy, TlsOptions, check_url
from glioserve_client.outputs import summary, write_outputs
from glioserve_client.study import DicomStudy, Study, VolumeStudy
from glioserve_contract import Modality
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_contract.tensors import ENSEMBLE

_NAMES = ", ".join(f"{m}=FILE" for m in Modality)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "study", nargs="+", metavar="STUDY", help=f"a folder or zip archive of DICOM files, or NIfTI files: {_NAMES}"
    )
    parser.add_argument("--url", required=True, type=url, metavar="HOST:PORT", help="the server's gRPC address")
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json, .html, heatmap.nii.gz, overlay.png")
    parser.add_argument(
        "--timeout-s", type=_seconds, default=DEFAULT_TIMEOUT_S, metavar="S", help="default: %(default)g"
    )
    parser.add_argument("--no-retry", action="store_true", help="fail at once when the server cannot be reached")
    parser.add_argument("--no-heatmap", action="store_true", help="do not ask for the heat map")
    add_series_argument(parser)
    parser.add_argument("--model", default=ENSEMBLE.name, metavar="NAME", help="default: %(default)s")
    parser.add_argument(
        "--identified",
        action="store_true",
        help="send the DICOM files as they are, with the patient's name; the server must have been told to accept it",
    )
    add_tls_arguments(parser)


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that :func:`tls_of` reads."""
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="encrypt; any option below implies it")
    tls.add_argument("--tls-ca", type=Path, metavar="PEM", help="who may have signed the server's certificate")
    tls.add_argument("--tls-cert", type=Path, metavar="PEM", help="the client's certificate, for mutual TLS")
    tls.add_argument("--tls-key", type=Path, metavar="PEM", help="the client's private key, for mutual TLS")
    tls.add_argument("--tls-server-name", metavar="NAME", help="the name in the server's certificate")


def add_series_argument(parser: argparse.ArgumentParser) -> None:
    """``--series t1=UID``, repeatable: ``args.series`` is a list of pairs."""
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        type=_series,
        metavar="SEQUENCE=UID",
        help="take the series of this SeriesInstanceUID (or UID#part) for a sequence; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Exit code 0; our errors go to the command's entry point, which prints them in one line."""
    try:
        tls, study = tls_of(args), _study(args.study)
        _progress(args, "reading done, sending the study …")
        with GliomaClient(
            args.url,
            timeout_s=args.timeout_s,
            tls=tls,
            retry=NO_RETRY if args.no_retry else RetryPolicy(),
            model_name=args.model,
            identified=args.identified,
        ) as client:
            prediction = client.predict(study, heatmap=not args.no_heatmap, series=dict(args.series))
        print(prediction.report_json() if args.json else summary(prediction))
        if args.out is not None:
            _progress(args, "writing the answer …")
            written = write_outputs(prediction, args.out, study)
            for warning in written.warnings:
                print(f"warning: {warning}", file=sys.stderr)
            if not args.json:
                print("\n" + "\n".join(str(path) for path in written.paths))
    except CodedError as error:
        if error.path is not None:  # the caller's own terminal may see the caller's own file name
            print(f"in {error.path}:", file=sys.stderr)
        if error.request_id:
            print(f"request {error.request_id}, attempts: {error.attempts}", file=sys.stderr)
        raise
    except (ValueError, OSError) as error:
        print(f"glioserve predict: {error}", file=sys.stderr)
        return 2
    return 0


def _study(arguments: list[str]) -> Study:
    if len(arguments) == 1 and ("=" not in arguments[0] or Path(arguments[0]).is_dir()):
        return DicomStudy.from_directory(arguments[0])
    paths: dict[Modality, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or name not in {m.value for m in Modality} or not path:
            raise ValueError(f"STUDY is one folder, or any of {_NAMES}; not {argument!r}")
        if Modality(name) in paths:
            raise ValueError(f"{name} is given twice")
        paths[Modality(name)] = path
    return VolumeStudy.from_nifti(paths)


def tls_of(args: argparse.Namespace) -> TlsOptions | None:
    """None for plain text."""
    wanted = args.tls or any((args.tls_ca, args.tls_cert, args.tls_key, args.tls_server_name))
    return TlsOptions(args.tls_ca, args.tls_key, args.tls_cert, args.tls_server_name) if wanted else None


def _progress(args: argparse.Namespace, text: str) -> None:
    if sys.stderr.isatty() and not args.json:
        print(text, file=sys.stderr)


def url(text: str) -> str:
    """argparse's type of a gRPC address."""
    try:
        return check_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _series(text: str) -> tuple[Modality, str]:
    name, equals, uid = text.partition("=")
    if not equals or name not in {m.value for m in Modality} or not uid:
        raise argparse.ArgumentTypeError(f"must be SEQUENCE=UID with one of {', '.join(Modality)}")
    return Modality(name), uid


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return seconds
