"""Studies as they are sent to the bridge's own port, by a scanner, a router or the PACS itself."""

from __future__ import annotations

from collections.abc import Collection

from glioserve_contract import GlioserveError
from glioserve_pacs.archives import FoundStudy, Image, Keep, Query, digest_of
from glioserve_pacs.archives.receiver import NOT_UNDERSTOOD, OUT_OF_RESOURCES, SUCCESS
from glioserve_pacs.metrics import Metrics
from glioserve_pacs.records.files import Files
from glioserve_pacs.records.state import State
from glioserve_pacs.records.study import UNDER_WAY


class Received:
    """Source of the images that were sent; :meth:`take` is called by the port, from threads of its own."""

    def __init__(self, state: State, files: Files, metrics: Metrics, most_under_way: int) -> None:
        self._state, self._files, self._metrics, self._most = state, files, metrics, most_under_way

    def take(self, study_instance_uid: str, image: Image, content: bytes) -> int:
        """Write an image down and return the status: a success is on the disk.

        A full queue takes no image of a study that is not under way; the sender tries again later.
        """
        try:
            known = self._state.study(study_instance_uid)
            if known is None or known.phase not in UNDER_WAY:
                counts = self._state.counts()
                if sum(counts[phase] for phase in UNDER_WAY) >= self._most:
                    self._metrics.deferred.inc()
                    return OUT_OF_RESOURCES
            self._files.add_image(study_instance_uid, image, content, durable=True)
            if self._state.received(study_instance_uid, image):
                images = self._state.received_images(study_instance_uid)
                self._state.seen(study_instance_uid, digest_of(images), len(images), images=len(images))
        except (OSError, GlioserveError):
            return OUT_OF_RESOURCES
        except ValueError:
            return NOT_UNDERSTOOD
        self._metrics.received.inc()
        return SUCCESS

    def find(self, query: Query) -> list[FoundStudy]:
        """Return the studies of which images were sent; dates are not asked."""
        found = [FoundStudy(uid, count) for uid, count in self._state.received_studies()]
        return [study for study in found if query.study_instance_uid in ("", study.study_instance_uid)]

    def images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the images that were sent."""
        return self._state.received_images(study_instance_uid)

    def fetch(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> None:
        """Do nothing: the files are where the bridge keeps images."""
