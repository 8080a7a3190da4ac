"""``manifest.json`` of one exported classifier version: its origin, its files and what was proven of it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.codec import Digest, SchemaError, from_dict, is_sha256_digest
from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.records.facts.evaluation import EvaluationSummary
from glioserve_contract.records.facts.parity import ParityRecord
from glioserve_contract.records.facts.publication import PublicationRecord
from glioserve_contract.records.facts.variants import VariantRecord
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_contract.records.version_1 import manifest_of_1
from glioserve_contract.seal import seal_holds

ManifestSchema = Literal["glioserve/manifest/2"]
MANIFEST_SCHEMA: ManifestSchema = "glioserve/manifest/2"


@dataclass(frozen=True)
class Manifest:
    """Facts of one version."""

    schema: ManifestSchema
    """Name and version of this schema."""
    recipe: Recipe
    """Recipe of the network, whole."""
    weights_digest: Digest
    """``sha256:…`` of the trained weights; the graph itself returns it as MODEL_ID."""
    preprocessing_digest: Digest
    """``sha256:…`` of the recipe's part that decides what the network is shown."""
    cam_grid: tuple[int, int, int]
    """Size (d, h, w) of the CAM output. One Triton configuration serves all versions of a repository, and its
    onnxruntime backend wants an output's dims to be the graph's own: versions share a repository only if equal."""
    cam_start_voxels: float
    """IMAGE index (the same along z, y, x) on whose centre the first CAM voxel's receptive field is centred; the
    network's ``cam_lattice`` gives it with the step. A map that is simply stretched over IMAGE's extent would lie
    half a step off where the network pads symmetrically with odd kernels (6 mm for a step of 4 voxels of 4 mm)."""
    cam_step_voxels: float
    """Distance from one CAM voxel to the next, in IMAGE voxels."""
    files: dict[str, Digest]
    """Name of each file beside the manifest to its ``sha256:…``."""
    parity: ParityRecord
    """Proof that the graph answers as the trained network does."""
    cam_method: Literal["closed_form", "traced", "none"] = "closed_form"
    """Computation of CAM's weights in the graph; ``none``: the network gives no map, and CAM is one zero."""
    variants: dict[str, VariantRecord] = field(default_factory=dict)
    """Other precisions (fp16, bf16, int8) that passed their gate, by name."""
    evaluation: EvaluationSummary | None = None
    """Summary of ``glioserve evaluate``'s report; absent where the version was never evaluated."""
    publication: PublicationRecord | None = None
    """Publication into its repository; absent from what was only exported."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of glioserve, the contract and the libraries that exported it."""
    created: str = ""
    """Time of the export: UTC, ISO 8601."""

    def check(self, path: str) -> None:
        """Raise SchemaError unless the digests are digests, the recipe's is the one stated, and CAM lies in bounds."""
        for name in ("weights_digest", "preprocessing_digest"):
            if not is_sha256_digest(getattr(self, name)):
                raise SchemaError(f"{path}.{name}", "must be 'sha256:' and 64 hex digits")
        if self.preprocessing_digest != preprocessing_digest(self.recipe):
            raise SchemaError(f"{path}.preprocessing_digest", "is not the recipe's")
        if not (-64 <= self.cam_start_voxels <= 64 and 0.5 <= self.cam_step_voxels <= 128):
            raise SchemaError(f"{path}.cam_step_voxels", "start must be -64 to 64 and step 0.5 to 128 voxels")
        if not all(1 <= n <= 512 for n in self.cam_grid):
            raise SchemaError(f"{path}.cam_grid", f"each must be 1 to 512, not {self.cam_grid}")


@dataclass(frozen=True)
class ServedVersion:
    """One version of a classifier in a repository: Triton's model name and version, and its manifest."""

    name: str
    version: str
    manifest: Manifest


def model_id(weights_digest: str) -> tuple[int, ...]:
    """Return the weights digest as the classifier's output MODEL_ID: eight INT32, big-endian words."""
    return struct.unpack(">8i", bytes.fromhex(weights_digest.removeprefix("sha256:")))


def digest_of_model_id(words: tuple[int, ...]) -> str:
    """Return the weights digest of MODEL_ID's words, the inverse of :func:`model_id`."""
    return "sha256:" + struct.pack(">8i", *words).hex()


def parse_manifest(text: bytes, *, verify_seal: bool = False) -> Manifest:
    """Return the manifest of its file's bytes, of schema 2 or 1 (GLIO-5103); only a published one is sealed."""
    try:
        manifest = from_dict(Manifest, manifest_of_1(json.loads(text)))
    except (UnicodeDecodeError, json.JSONDecodeError, SchemaError) as error:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"manifest.json: {error}.") from error
    if verify_seal and manifest.publication and not seal_holds(text):
        raise GlioserveError(
            ErrorCode.INVALID_MANIFEST, "manifest.json is not as it was published: a byte of it changed."
        )
    return manifest
