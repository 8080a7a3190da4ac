"""A PACS that speaks DICOMweb: QIDO-RS finds, WADO-RS fetches, STOW-RS stores (PS3.18)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient

from glioserve_client.options import TlsOptions
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.part10 import MR_STORAGE
from glioserve_dicom.files.quiet import quiet
from glioserve_pacs.archives import FoundStudy, Image, Keep, Query, checked_uid, is_uid, reading

PAGE = 500
"""Results asked for at once; the next page is asked for until one brings nothing new."""
_TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016",
    "Modality": "00080060",
    "NumberOfStudyRelatedInstances": "00201208",
    "AccessionNumber": "00080050",
}
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed later."""
_NONE_STORED = 409
"""HTTP status where no instance was stored, for reasons of the instances (PS3.18 10.5.3.1)."""
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""Reasons for which an instance is not stored that pass (PS3.4 B.2.3)."""
_NOT_FOUND = 404
_ANY_SYNTAX = ("application/dicom", "*")
_Item = Mapping[str, Any]
"""One result in the DICOM JSON model: tags to their elements."""


@dataclass(frozen=True)
class WebAccess:
    """A DICOMweb service and how to reach it."""

    url: str
    """Base URL of the service, as ``https://pacs.example/dicom-web``."""
    ca: Path | None = None
    """Certificates, PEM, of who may have signed the PACS's; None for the system's."""
    certificate: Path | None = None
    """The bridge's own certificate, PEM, for mutual TLS."""
    key: Path | None = field(default=None, repr=False)
    """Its private key."""
    authorization: str = field(default="", repr=False)
    """Value of the Authorization header; empty for none."""
    timeout_s: float = 60.0
    """Longest time to connect, and longest silence of the PACS."""

    def __post_init__(self) -> None:
        """Refuse what would send credentials or a private key's proof where anyone can read along."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _invalid("The DICOMweb address must begin with http:// or https:// and name a host.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise _invalid("The DICOMweb address must not carry a user, a password, a query or a fragment.")
        if parts.scheme == "http" and self.authorization and not _is_loopback(parts.hostname):
            raise _invalid("Credentials are sent over https alone, but for a PACS on this machine's loopback.")
        if (self.certificate is None) != (self.key is None):
            raise _invalid("Mutual TLS needs both the certificate and its key.")
        TlsOptions(self.ca, self.key, self.certificate).check_files()


class DicomWeb:
    """Source and destination over DICOMweb.

    The environment's proxies and .netrc are ignored: a study takes no detour.
    """

    def __init__(self, access: WebAccess) -> None:
        web = requests.Session()
        web.trust_env = False
        web.max_redirects = 0
        web.verify = str(access.ca) if access.ca is not None else True
        if access.certificate is not None:
            web.cert = (str(access.certificate), str(access.key))
        web.headers["Accept"] = "application/dicom+json"
        if access.authorization:
            web.headers["Authorization"] = access.authorization
        self._client = DICOMwebClient(
            access.url.rstrip("/"), session=web, timeout=access.timeout_s, permissive_uid=True
        )
        self._client.set_http_retry_params(retry=False)

    def find(self, query: Query) -> list[FoundStudy]:
        """Return the studies that QIDO-RS lists."""
        filters: dict[str, str] = {}
        if query.study_instance_uid:
            filters["StudyInstanceUID"] = query.study_instance_uid
        elif query.accession_number:
            filters["AccessionNumber"] = query.accession_number
        else:
            filters["ModalitiesInStudy"] = "MR"
            if query.since is not None:
                filters["StudyDate"] = f"{query.since:%Y%m%d}-"
        fields = ["NumberOfStudyRelatedInstances", "AccessionNumber"]
        listed = self._pages("studies", filters, fields)
        return _found([item for item in listed if _is_asked(item, query)])

    def images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the study's MR images that QIDO-RS lists."""
        listed = self._listed(study_instance_uid)
        return frozenset(
            Image(_uid(item, "SeriesInstanceUID"), _uid(item, "SOPInstanceUID")) for item in listed if _is_mr(item)
        )

    def fetch(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> None:
        """Fetch by WADO-RS, a series at a time, in the transfer syntax that the PACS has each image in."""
        wanted = {image.sop_instance_uid: image for image in images}
        for series in sorted({image.series_instance_uid for image in images}):
            with _telling("fetch a series", absent_is_empty=True):
                for dataset in self._client.iter_series(study_instance_uid, series, media_types=(_ANY_SYNTAX,)):
                    image = wanted.get(str(dataset.get("SOPInstanceUID", "")))
                    if image is not None:
                        buffer = BytesIO()
                        dataset.save_as(buffer, enforce_file_format=True)
                        keep(image, buffer.getvalue())

    def missing(self, study_instance_uid: str, sop_instance_uids: Collection[str]) -> set[str]:
        """Return the UIDs that QIDO-RS does not list in the study."""
        listed = self._listed(study_instance_uid)
        return set(sop_instance_uids) - {str(_value(item, "SOPInstanceUID")) for item in listed}

    def store(self, files: Sequence[Path]) -> tuple[str, ...]:
        """Store by STOW-RS, one request for all."""
        datasets = [pydicom.dcmread(file) for file in files]
        with _telling("store results"):
            try:
                answer = self._client.store_instances(datasets)
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code != _NONE_STORED:
                    raise
                return (f"HTTP {_NONE_STORED}",) * len(files)
            failed = answer.get("FailedSOPSequence") or ()
            reasons = [item.get("FailureReason") for item in failed]
            if any(reason is not None and int(reason) in _OUT_OF_RESOURCES for reason in reasons):
                detail = "The PACS is out of resources for the results."
                raise GlioserveError(ErrorCode.PACS_UNREACHABLE, detail)
            return tuple("no reason given" if reason is None else f"0x{int(reason):04X}" for reason in reasons)

    def _listed(self, study_instance_uid: str) -> list[_Item]:
        return self._pages("instances", {}, ["SOPClassUID", "Modality"], study_instance_uid)

    def _pages(
        self, what: str, filters: dict[str, str], fields: list[str], study_instance_uid: str = ""
    ) -> list[_Item]:
        """Return all results of a query, page by page.

        A service may give fewer results than a page has, and one that does not know pages gives all of them each time.
        """
        results: list[_Item] = []
        known: set[str] = set()
        while True:
            page: Sequence[_Item] = []
            texts: list[str] = []
            part: dict[str, Any] = {"limit": PAGE, "offset": len(results), "fields": fields, "search_filters": filters}
            with _telling(f"list {what}", absent_is_empty=True):
                if study_instance_uid:
                    page = self._client.search_for_instances(study_instance_uid, **part)
                else:
                    page = self._client.search_for_studies(**part)
                texts = [json.dumps(item, sort_keys=True) for item in page]
            if known.issuperset(texts):
                return results
            results += page
            known.update(texts)


@contextmanager
def _telling(what: str, *, absent_is_empty: bool = False) -> Iterator[None]:
    """Turn what the libraries raise into GLIO-42xx. Their messages carry URLs with UIDs, so none is passed on.

    With ``absent_is_empty`` the block just ends where the PACS says that there is no such thing (HTTP 404).
    """
    with quiet("pydicom"), quiet("dicomweb_client"):
        try:
            with reading(what):
                yield
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == _NOT_FOUND and absent_is_empty:
                return
            code = ErrorCode.PACS_UNREACHABLE if status in _BUSY else ErrorCode.PACS_REFUSED
            raise GlioserveError(code, f"The PACS answered HTTP {status} to the request to {what}.") from None
        except requests.exceptions.SSLError:
            detail = "The PACS's certificate, or the bridge's, is not accepted."
            raise GlioserveError(ErrorCode.PACS_REFUSED, detail) from None
        except requests.TooManyRedirects:
            detail = "The PACS redirects to another address; name that one."
            raise GlioserveError(ErrorCode.PACS_REFUSED, detail) from None
        except requests.exceptions.JSONDecodeError:
            detail = f"The answer to the request to {what} is not JSON."
            raise GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED, detail) from None
        except (requests.RequestException, ConnectionError, TimeoutError) as error:
            detail = f"The PACS cannot be reached to {what} ({type(error).__name__})."
            raise GlioserveError(ErrorCode.PACS_UNREACHABLE, detail) from None


def _found(items: Sequence[_Item]) -> list[FoundStudy]:
    """Return the studies, each once."""
    studies = {}
    for item in items:
        uid, count = str(_value(item, "StudyInstanceUID")), str(_value(item, "NumberOfStudyRelatedInstances"))
        uid = uid if is_uid(uid) else ""
        studies[uid] = FoundStudy(uid, int(count) if count.isdecimal() else None)
    return list(studies.values())


def _is_asked(item: _Item, query: Query) -> bool:
    """Return whether a study is the one that was named: a PACS that does not know a filter lists all of its studies."""
    named = {"StudyInstanceUID": query.study_instance_uid, "AccessionNumber": query.accession_number}
    return all(str(_value(item, keyword)).strip() == name for keyword, name in named.items() if name)


def _value(item: _Item, keyword: str) -> Any:
    """Return an attribute's first value; an empty text where it has none, or is not of the DICOM JSON model."""
    element = item.get(_TAGS[keyword]) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values and values[0] is not None else ""


def _uid(item: _Item, keyword: str) -> str:
    return checked_uid(str(_value(item, keyword)), keyword)


def _is_mr(item: _Item) -> bool:
    sop_class = str(_value(item, "SOPClassUID"))
    return sop_class in MR_STORAGE if sop_class else _value(item, "Modality") == "MR"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _invalid(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_BRIDGE, problem)
