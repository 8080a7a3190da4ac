"""Arguments of ``glioserve pacs``: the PACS, credentials, the bridge's own port and allow-list, and the pace."""

from __future__ import annotations

import argparse
from base64 import b64encode
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_pacs.archives import is_uid
from glioserve_pacs.archives.peers import Peer, checked_ae_title
from glioserve_pacs.parts import Settings

_DEFAULT = Settings()
RECEIVED = "received"
"""Source of what is sent to the bridge's own port."""
_PLACES = "https://HOST/dicom-web, dimse://AETITLE@HOST:PORT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all arguments but those of the glioserve server."""
    places = parser.add_argument_group("PACS")
    places.add_argument(
        "--source",
        required=True,
        metavar="PLACE",
        help=f"where studies come from: {_PLACES}, folder:DIR, or {RECEIVED} (what is sent to --listen)",
    )
    places.add_argument(
        "--store-to", metavar="PLACE", help=f"where results go: {_PLACES} or folder:DIR (default: the source)"
    )
    places.add_argument(
        "--study", type=_uid, action="append", default=[], metavar="UID", help="this study alone; may be repeated"
    )
    places.add_argument(
        "--accession",
        type=_accession_number,
        action="append",
        default=[],
        metavar="NUMBER",
        help="the study of this order; may be repeated",
    )
    _add_access(parser)
    own = parser.add_argument_group("the bridge's own DICOM port")
    own.add_argument(
        "--ae-title",
        type=argtypes.checked(checked_ae_title),
        default="GLIOSERVE",
        metavar="AETITLE",
        help="the bridge's AE title (default: %(default)s)",
    )
    own.add_argument("--listen", type=_address, metavar="HOST:PORT", help="address of the port; needed for C-MOVE too")
    own.add_argument(
        "--allow",
        type=argtypes.checked(Peer.parse),
        action="append",
        default=[],
        metavar="AETITLE@HOST",
        help="a caller that may send images: its AE title, and its host, address or network; may be repeated",
    )
    _add_pace(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    web = parser.add_argument_group("DICOMweb", "how https://... is reached")
    web.add_argument("--pacs-ca", type=Path, metavar="PEM", help="who may have signed the PACS's certificate")
    web.add_argument("--pacs-cert", type=Path, metavar="PEM", help="the bridge's certificate, for mutual TLS")
    web.add_argument("--pacs-key", type=Path, metavar="PEM", help="its private key")
    credentials = web.add_mutually_exclusive_group()
    credentials.add_argument(
        "--pacs-token-file",
        type=_bearer,
        dest="authorization",
        metavar="FILE",
        help="file with a token for the PACS",
    )
    credentials.add_argument(
        "--pacs-password-file",
        type=_basic,
        dest="authorization",
        metavar="FILE",
        help="file with USER:PASSWORD for the PACS",
    )


def _add_pace(parser: argparse.ArgumentParser) -> None:
    pace = parser.add_argument_group("what is done when")
    pace.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder of states, files, audit log")
    pace.add_argument(
        "--recipe", type=Path, required=True, metavar="JSON", help="recipe.json of the model that the server serves"
    )
    pace.add_argument(
        "--stable-s",
        type=argtypes.seconds(zero=True),
        default=_DEFAULT.stable_s,
        metavar="S",
        help="seconds without a new image after which a study may be complete (default: %(default)g)",
    )
    pace.add_argument(
        "--poll-s",
        type=argtypes.seconds(),
        default=_DEFAULT.poll_s,
        metavar="S",
        help="seconds between two looks at the PACS (default: %(default)g)",
    )
    pace.add_argument(
        "--window-days",
        type=argtypes.count,
        default=_DEFAULT.window_days,
        metavar="N",
        help="look for studies of the last N days, by StudyDate (default: %(default)s)",
    )
    pace.add_argument(
        "--most-under-way",
        type=argtypes.count,
        default=_DEFAULT.most_under_way,
        metavar="N",
        help="most studies under way at one time (default: %(default)s)",
    )
    pace.add_argument("--once", action="store_true", help="end when what the first look found is settled or failed")
    pace.add_argument("--dry-run", action="store_true", help="ask no server and store nothing: say what would be done")
    pace.add_argument("--mercure", action="store_true", help="write result.json for mercure beside the results")
    pace.add_argument("--metrics-port", type=argtypes.port, metavar="PORT", help="port of a Prometheus page")
    pace.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="ADDRESS", help="its address (default: %(default)s)"
    )


def _address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, as 0.0.0.0:11112, not {text!r}")
    return host.strip("[]"), argtypes.port(port)


def _uid(text: str) -> str:
    """Return a UID; an empty one would ask for every study."""
    if not is_uid(text.strip()):
        raise argparse.ArgumentTypeError(f"must be a StudyInstanceUID, as 1.2.840.1, not {text!r}")
    return text.strip()


def _accession_number(text: str) -> str:
    """Return an accession number; an empty one, or one with wildcards, would ask for every study."""
    number = text.strip()
    if not number or not number.isprintable() or set(number) & set("*?\\"):
        raise argparse.ArgumentTypeError(f"must be one accession number, without any of * ? \\, not {text!r}")
    return number


def _bearer(text: str) -> str:
    return argtypes.bearer_file(text)["authorization"]


def _basic(text: str) -> str:
    """Return the Authorization header of a file with ``USER:PASSWORD``."""
    name = Path(text).name
    try:
        line = Path(text).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise argparse.ArgumentTypeError(f"{name}: {reason}") from error
    if ":" not in line or not line.isprintable():
        raise argparse.ArgumentTypeError(f"{name}: it must hold one line, USER:PASSWORD")
    return f"Basic {b64encode(line.encode()).decode('ascii')}"
