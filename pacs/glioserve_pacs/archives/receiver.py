"""The bridge's own DICOM port: it takes MR images by C-STORE from the allow-list, and answers C-ECHO."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined,unused-ignore]  # made at import

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.part10 import MR_STORAGE
from glioserve_dicom.files.quiet import quiet
from glioserve_pacs.archives import Image, Keep, is_uid
from glioserve_pacs.archives.peers import Peer, admitted

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
"""Status of a C-STORE that the sender repeats later (PS3.4 B.2.3): the queue or the disk is full."""
NOT_AUTHORISED = 0x0124
"""Status of an image that was not asked for."""
NOT_UNDERSTOOD = 0xC000
_REJECTED, _BY_USER, _CALLING_UNKNOWN = 0x01, 0x01, 0x03
"""Rejection for good, by the service user: calling AE title not recognised (PS3.8 9.3.4)."""
MOST_ASSOCIATIONS = 8
_TIMEOUT_S = 60.0

Take = Callable[[str, Image, bytes], int]
"""Function that takes an image that was sent: StudyInstanceUID, the image, the file; it returns the status."""


class Receiver:
    """A DICOM port on ``host``; port 0 lets the system choose. Use it as a context manager."""

    def __init__(
        self,
        ae_title: str,
        host: str,
        port: int,
        peers: Collection[Peer],
        *,
        take: Take | None = None,
        refused: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Keep the settings; the port opens with the context.

        Args:
            ae_title: the bridge's; a caller must call this one.
            host: address to listen on.
            port: TCP port.
            peers: who may call.
            take: takes images that were not asked for; None refuses them.
            refused: told the AE title of a caller that is not on the list.
        """
        self._ae_title, self._place, self._peers = ae_title, (host, port), tuple(peers)
        self._take, self._refused = take, refused
        self._expected: tuple[str, dict[str, Image], Keep] | None = None
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self.port = port
        """TCP port; the one in use while the context lasts."""

    def __enter__(self) -> Receiver:
        entity = AE(ae_title=self._ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
        entity.add_supported_context(Verification)
        for sop_class in sorted(MR_STORAGE):
            entity.add_supported_context(sop_class, AllTransferSyntaxes)
        handlers: list[Any] = [(evt.EVT_REQUESTED, self._on_request), (evt.EVT_C_STORE, self._on_store)]
        try:
            server: Any = entity.start_server(self._place, block=False, evt_handlers=handlers)
        except OSError as error:
            detail = f"The DICOM port {self._place[1]} cannot be opened: {error.strerror}."
            raise GlioserveError(ErrorCode.INVALID_BRIDGE, detail) from error
        self._server, self.port = server, int(server.server_address[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    @contextmanager
    def expecting(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> Iterator[None]:
        """Hand the images of this list to ``keep`` as they come in; what ``keep`` raises is raised at the end."""
        with self._lock:
            self._expected = (study_instance_uid, {image.sop_instance_uid: image for image in images}, keep)
            self._failure = None
        try:
            yield
        finally:
            with self._lock:
                self._expected, failure = None, self._failure
            if failure is not None:
                raise failure

    def _on_request(self, event: Event) -> None:
        """Reject a caller that is not on the allow-list, or of which that cannot be told.

        pynetdicom goes on with an association where this raises, so the rejection is sent before all that may fail.
        """
        with quiet("pynetdicom"):
            requestor: Any = event.assoc.requestor
            ae_title = ""
            try:
                ae_title = str(requestor.primitive.calling_ae_title).strip()
                if admitted(self._peers, ae_title, str(requestor.address)):
                    return
            except Exception:  # noqa: BLE001, S110 - whatever a stranger's bytes or a name server's make a library raise
                pass
            event.assoc.acse.send_reject(_REJECTED, _BY_USER, _CALLING_UNKNOWN)
            event.assoc.kill()
            self._refused(ae_title)

    def _on_store(self, event: Event) -> int:
        """Take one image; return the status of the response."""
        with quiet("pynetdicom"), quiet("pydicom"):
            try:
                header = event.dataset
                study, series, sop = (
                    str(header.get(keyword) or "")
                    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
                )
                content = event.encoded_dataset()
            except Exception:  # noqa: BLE001 - whatever a stranger's bytes make a library raise
                return NOT_UNDERSTOOD
            if not all(map(is_uid, (study, series, sop))):
                return NOT_UNDERSTOOD
            return self._taken(study, Image(series, sop), content)

    def _taken(self, study_instance_uid: str, image: Image, content: bytes) -> int:
        with self._lock:
            if self._expected is not None:
                study, wanted, keep = self._expected
                if study == study_instance_uid and wanted.get(image.sop_instance_uid) == image:
                    try:
                        keep(image, content)
                    except (OSError, GlioserveError) as error:
                        self._failure = error
                        return OUT_OF_RESOURCES
                    return SUCCESS
        return NOT_AUTHORISED if self._take is None else self._take(study_instance_uid, image, content)
