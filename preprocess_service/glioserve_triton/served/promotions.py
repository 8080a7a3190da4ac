"""The version of a repository on disk that serves, by its promotion record."""

from __future__ import annotations

from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.promotion import PROMOTION_FILE, Promotion, broken_record, parse_promotion
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.served.versions import load_manifest


def load_promotion(classifier: Path) -> Promotion | None:
    """Return the record beside the versions, None where there is none; GLIO-5108 where it is not as it was written."""
    try:
        text = (classifier / PROMOTION_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise broken_record(f"cannot be read: {error.strerror}") from error
    return parse_promotion(text)


def version_numbers(classifier: Path) -> tuple[int, ...]:
    """Return the versions' numbers, oldest first: folders whose names are numbers as Triton counts them."""
    names = (p.name for p in classifier.glob("[1-9]*") if p.is_dir())
    return tuple(sorted(int(name) for name in names if name.isascii() and name.isdigit()))


def serving_version(repository: Path) -> int | None:
    """Return the number of the version that serves, None in a repository without versions (GLIO-5108: a broken record).

    It need not be there: ``glioserve repository verify`` says so.
    """
    classifier = repository / CLASSIFIER_MODEL.name
    promotion = load_promotion(classifier)
    return max(version_numbers(classifier), default=None) if promotion is None else promotion.serving


def load_serving(repository: Path) -> ServedVersion:
    """Return the version that serves; GLIO-5108 where there is none, GLIO-5103 where its manifest cannot be read."""
    number = serving_version(repository)
    folder = repository / CLASSIFIER_MODEL.name / str(number)
    if not (folder / "manifest.json").is_file():
        what = "No version" if number is None else f"Version {number}, which is to serve, is not there, nor a manifest"
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{what} under {CLASSIFIER_MODEL.name}/.")
    return ServedVersion(CLASSIFIER_MODEL.name, folder.name, load_manifest(folder))
