"""A PACS that speaks DIMSE: C-FIND finds, C-MOVE fetches into the bridge's own port, C-STORE stores (PS3.4)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined,unused-ignore]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.part10 import MR_STORAGE
from glioserve_dicom.files.quiet import quiet
from glioserve_pacs.archives import FoundStudy, Image, Keep, Query, checked_uid, is_uid, reading
from glioserve_pacs.archives.peers import Peer
from glioserve_pacs.archives.receiver import Receiver

SUCCESS, PENDING = 0x0000, frozenset({0xFF00, 0xFF01})
_BUSY = frozenset({0xA700, 0xA701, 0xA702})
"""Statuses of a PACS that is out of resources: the same request may succeed later (PS3.4 C.4.2)."""


@dataclass(frozen=True)
class DimseAccess:
    """A PACS's DICOM port and the AE titles of both sides."""

    peer: Peer
    """The PACS's AE title and host."""
    port: int
    own_ae_title: str
    """The bridge's AE title, by which the PACS knows where to move images to."""
    timeout_s: float = 60.0
    """Longest time to connect and to negotiate, and longest silence of the PACS."""


class Dimse:
    """Source and destination over DIMSE."""

    def __init__(self, access: DimseAccess, receiver: Receiver | None = None) -> None:
        """Keep how the PACS is reached.

        Args:
            access: the PACS.
            receiver: the bridge's own port, which C-MOVE sends to; None where nothing is fetched.
        """
        self._access, self._receiver = access, receiver

    def find(self, query: Query) -> list[FoundStudy]:
        """Return the studies that C-FIND lists."""
        keys = _keys(
            "STUDY",
            query.study_instance_uid,
            AccessionNumber=query.accession_number,
            NumberOfStudyRelatedInstances="",
        )
        if not query.study_instance_uid and not query.accession_number:
            keys.ModalitiesInStudy = "MR"
            keys.StudyDate = f"{query.since:%Y%m%d}-" if query.since is not None else ""
        studies = {}
        for item in self._find(keys):
            count, uid = _text(item, "NumberOfStudyRelatedInstances"), _text(item, "StudyInstanceUID")
            if _is_asked(item, query):
                uid = uid if is_uid(uid) else ""
                studies[uid] = FoundStudy(uid, int(count) if count.isdecimal() else None)
        return list(studies.values())

    def images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the study's MR images that C-FIND lists: first its series, then the images of each."""
        images = set()
        for series in self._find(_keys("SERIES", study_instance_uid, SeriesInstanceUID="", Modality="")):
            uid = _uid(series, "SeriesInstanceUID")
            keys = _keys("IMAGE", study_instance_uid, SeriesInstanceUID=uid, SOPInstanceUID="", SOPClassUID="")
            for item in self._find(keys):
                sop_class = _text(item, "SOPClassUID")
                if sop_class in MR_STORAGE if sop_class else _text(series, "Modality") == "MR":
                    images.add(Image(uid, _uid(item, "SOPInstanceUID")))
        return frozenset(images)

    def fetch(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> None:
        """Have the PACS send the series by C-MOVE; the bridge's port hands its images to ``keep``."""
        if self._receiver is None:
            raise GlioserveError(ErrorCode.INVALID_BRIDGE, "C-MOVE needs a port of the bridge to send to (--listen).")
        with self._receiver.expecting(study_instance_uid, images, keep):
            for series in sorted({image.series_instance_uid for image in images}):
                keys = _keys("SERIES", study_instance_uid, SeriesInstanceUID=series)
                with self._association([StudyRootQueryRetrieveInformationModelMove]) as association, _telling("C-MOVE"):
                    model = StudyRootQueryRetrieveInformationModelMove
                    for status, _ in association.send_c_move(keys, self._access.own_ae_title, model):
                        if _code(status, "C-MOVE") not in PENDING:
                            _check(status, "C-MOVE")

    def missing(self, study_instance_uid: str, sop_instance_uids: Collection[str]) -> set[str]:
        """Return the UIDs that C-FIND does not list in the study."""
        there = set()
        for series in self._find(_keys("SERIES", study_instance_uid, SeriesInstanceUID="", Modality="")):
            uid = _uid(series, "SeriesInstanceUID")
            keys = _keys("IMAGE", study_instance_uid, SeriesInstanceUID=uid, SOPInstanceUID="")
            there |= {_text(item, "SOPInstanceUID") for item in self._find(keys)}
        return set(sop_instance_uids) - there

    def store(self, files: Sequence[Path]) -> tuple[str, ...]:
        """Store by C-STORE, all in one association."""
        datasets = [pydicom.dcmread(file) for file in files]
        classes = {str(d.SOPClassUID): str(d.file_meta.TransferSyntaxUID) for d in datasets}
        refused = []
        with self._association(list(classes), classes) as association, _telling("C-STORE"):
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            for dataset in datasets:
                if str(dataset.SOPClassUID) not in accepted:
                    refused.append(f"no {UID(str(dataset.SOPClassUID)).name}")
                    continue
                code = _code(association.send_c_store(dataset), "C-STORE")
                if code in _BUSY:
                    raise _ended("C-STORE", code)
                if not _is_done(code):
                    refused.append(f"0x{code:04X}")
        return tuple(refused)

    def _find(self, keys: Dataset) -> list[Dataset]:
        found = []
        model = StudyRootQueryRetrieveInformationModelFind
        with self._association([model]) as association, _telling("C-FIND"):
            for status, identifier in association.send_c_find(keys, model):
                if _code(status, "C-FIND") in PENDING:
                    if identifier is None:  # pynetdicom's word for one that it cannot decode
                        raise GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED, "A match of a C-FIND is not DICOM.")
                    found.append(identifier)
                else:
                    _check(status, "C-FIND")
        return found

    @contextmanager
    def _association(self, classes: Sequence[str], syntaxes: dict[str, str] | None = None) -> Iterator[Association]:
        """Open an association for these SOP classes; GLIO-42xx where the PACS cannot be reached or refuses it."""
        access = self._access
        entity = AE(ae_title=access.own_ae_title)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = access.timeout_s
        entity.network_timeout = access.timeout_s
        contexts = [build_context(uid, syntaxes[uid]) if syntaxes else build_context(uid) for uid in classes]
        with quiet("pynetdicom"):
            association = entity.associate(access.peer.host, access.port, contexts, access.peer.ae_title)
        if association.is_rejected:
            detail = f"The PACS rejected the association of {access.own_ae_title}."
            raise GlioserveError(ErrorCode.PACS_REFUSED, detail)
        if not association.is_established:
            raise GlioserveError(ErrorCode.PACS_UNREACHABLE, "No association with the PACS could be opened.")
        try:
            yield association
        finally:
            with quiet("pynetdicom"):
                association.release()


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn what the libraries raise into GLIO-42xx."""
    with quiet("pynetdicom"), quiet("pydicom"), reading(f"do a {what}"):
        try:
            yield
        except RuntimeError:  # pynetdicom's word for an association that has ended
            raise _broken_off(what) from None


def _keys(level: str, study_instance_uid: str = "", **keys: str) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    made.StudyInstanceUID = study_instance_uid
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def _code(status: Dataset, what: str) -> int:
    """Return the status of a response; GLIO-4201 where none came."""
    if "Status" not in status:
        raise _broken_off(what)
    return int(status.Status)


def _is_done(code: int) -> bool:
    """Return whether a final status is a success or a warning."""
    return code == SUCCESS or code >> 12 == 0xB


def _check(status: Dataset, what: str) -> None:
    """Raise GLIO-4201 or GLIO-4202 for a final status that is not a success or a warning."""
    if not _is_done(code := _code(status, what)):
        raise _ended(what, code)


def _ended(what: str, code: int) -> GlioserveError:
    kind = ErrorCode.PACS_UNREACHABLE if code in _BUSY else ErrorCode.PACS_REFUSED
    return GlioserveError(kind, f"The PACS ended a {what} with status 0x{code:04X}.")


def _broken_off(what: str) -> GlioserveError:
    return GlioserveError(ErrorCode.PACS_UNREACHABLE, f"The PACS broke off, or did not answer, a {what}.")


def _is_asked(item: Dataset, query: Query) -> bool:
    """Return whether a study is the one that was named: a PACS that does not know a key lists all of its studies."""
    named = {"StudyInstanceUID": query.study_instance_uid, "AccessionNumber": query.accession_number}
    return all(_text(item, keyword).strip() == name for keyword, name in named.items() if name)


def _uid(item: Dataset, keyword: str) -> str:
    return checked_uid(_text(item, keyword), keyword)


def _text(item: Dataset, keyword: str) -> str:
    """Return an attribute's text; empty where it is absent or cannot be read."""
    with quiet("pydicom"):
        try:
            return str(item.get(keyword) or "")
        except Exception:  # noqa: BLE001 - pydicom raises many kinds on a malformed value
            return ""
