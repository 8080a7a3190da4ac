"""Identity of the results: UIDs that the same answer to the same images always has, and the device that made them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pydicom.sr.coding import Code
from pydicom.uid import UID

from glioserve_client.calls.version import __version__
from glioserve_client.dicomfile import text_of
from glioserve_client.filing.codes import Concept
from glioserve_client.filing.source import Source
from glioserve_client.prediction import Prediction

MANUFACTURER = "glioserve"
FIRST_SERIES_NUMBER = 9901
"""SeriesNumber of the first kind of result; scanners' own numbers end below."""
_DIGEST_SHOWN = 23


@dataclass(frozen=True)
class Equipment:
    """Attributes of the equipment module and UIDs, which every result of one answer shares."""

    model_name: str
    digest: str
    versions: tuple[str, ...]
    _seed: str

    def uid(self, *what: str) -> UID:
        """Return a UID below ``2.25`` that depends on the answer, its images and ``what`` alone (PS3.5 B.2)."""
        digest = hashlib.sha256("\n".join((self._seed, *what)).encode()).digest()
        version_8 = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
        return UID(f"2.25.{version_8}")

    def of(self, kind: str, number: int) -> dict[str, Any]:
        """Return the keyword arguments that every one of highdicom's constructors takes.

        Args:
            kind: name of the kind of result.
            number: its place among the kinds, from 0.
        """
        return {
            "series_instance_uid": self.uid(kind, "series"),
            "series_number": FIRST_SERIES_NUMBER + number,
            "sop_instance_uid": self.uid(kind, "instance"),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.model_name,
            "software_versions": self.versions,
            "device_serial_number": self.digest,
        }


def equipment_of(prediction: Prediction, source: Source) -> Equipment:
    """Return the equipment that the results name: the network by its digest, the software by its versions."""
    model = prediction.model
    images = sorted(text_of(image, "SOPInstanceUID") for image in (*source.images, *source.others))
    answer = f"{prediction.report.preprocess.preprocessing_digest} {prediction.score!r} {prediction.label}"
    seed = "\n".join((model.digest, answer, *images))
    versions = (f"glioserve-client {__version__}", f"{model.name} {model.version}"[:64])
    return Equipment(model.name[:64], model.digest[:_DIGEST_SHOWN], versions, seed)


def code(concept: Concept) -> Code:
    """Return a concept as pydicom writes it."""
    return Code(concept.code, concept.scheme, concept.meaning)
