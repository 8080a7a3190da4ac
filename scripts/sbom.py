"""Write the software bill of materials of each image as CycloneDX 1.6: packages, networks and what they stand on.

    .venv/bin/python scripts/sbom.py [--out build/sbom]

Packages, versions and hashes are those of docker/'s lists, which are all that a build installs; licences and
dependencies are read from the installed packages of the same versions. The base image is one component: its contents
are its publisher's to list.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import licences

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
NETWORKS = (
    "preprocess_service/glioserve_preprocess/models/glioserve-brain.onnx",
    "preprocess_service/glioserve_preprocess/opinion/glioserve-opinion.onnx",
    "examples/demo_model/model.onnx",
)
_LICENCES = LicenseFactory()


@dataclass(frozen=True)
class Image:
    """One image that docker/Dockerfile builds."""

    name: str
    packages: str
    base: str
    """The build argument that names its base image."""
    python: str


IMAGES = (
    Image("glioserve", "requirements.txt", "TRITON_IMAGE", "3.12"),
    Image("glioserve-development", "development-requirements.txt", "PYTHON_IMAGE", "3.11"),
    Image("glioserve-pacs", "pacs-requirements.txt", "PYTHON_IMAGE", "3.11"),
)


def bill(image: Image) -> Bom:
    """Return the bill of an image: itself, its base image, our networks and every package with its dependencies."""
    version = metadata.version("glioserve")
    root = Component(
        name=image.name,
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref=image.name,
        licenses=[_licence("Apache-2.0")],
    )
    bom = Bom()
    bom.metadata.component = root
    parts = [_base_image(image), *map(_network, NETWORKS)]
    packages = {name: _package(name, release, hashes) for name, release, hashes in locked(DOCKER / image.packages)}
    for part in (*parts, *packages.values()):
        bom.components.add(part)
    bom.register_dependency(root, [*parts, *packages.values()])
    for name, component in packages.items():
        bom.register_dependency(component, [packages[n] for n in sorted(_needs(name, image.python)) if n in packages])
    return bom


def locked(file: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, version and the SHA-256 of each machine's wheel, for every package of a list."""
    for match in re.finditer(
        r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[a-f0-9]{64})+)$", file.read_text(), re.M
    ):
        yield match[1], match[2], re.findall(r"sha256:([a-f0-9]{64})", match[3])


def _package(name: str, version: str, hashes: list[str]) -> Component:
    about = metadata.metadata(name)
    if about["Version"] != version:
        raise SystemExit(
            f"{name} {about['Version']} is installed and {version} is in the image: install constraints.txt first"
        )
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", name=name, version=version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in hashes],
        licenses=[_licence(licences.licence_of(about))],
    )


def _network(path: str) -> Component:
    digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    return Component(
        name=Path(path).stem if "demo" not in path else "glioserve-demo-model",
        version=digest[:12],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=path,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[_licence("Apache-2.0")],
        properties=[Property(name="glioserve:notice", value="trained on data that NOTICE names")],
    )


def _base_image(image: Image) -> Component:
    stated = re.search(rf"^ARG {image.base}=(\S+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    if stated is None:
        raise SystemExit(f"docker/Dockerfile has no ARG {image.base}")
    name, _, tag = stated[1].partition(":")
    said = "its contents are not listed here: ask its publisher's own bill of materials"
    return Component(
        name=name, version=tag, type=ComponentType.CONTAINER, bom_ref=stated[1],
        properties=[Property(name="glioserve:contents", value=said)],
    )  # fmt: skip


def _needs(name: str, python: str) -> set[str]:
    """Return the names of what a package requires on the image's Python, extras aside."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    lines = map(Requirement, metadata.requires(name) or [])
    return {canonicalize_name(r.name) for r in lines if r.marker is None or r.marker.evaluate(environment)}


def _licence(text: str) -> License:
    return _LICENCES.make_from_string(text)


def main() -> int:
    """Write a file for each image; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "sbom", help="folder (default: build/sbom)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        bom = bill(image)
        file = out / f"{image.name}-{metadata.version('glioserve')}.cdx.json"
        file.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n", encoding="utf-8")
        print(f"{file}: {len(bom.components)} components")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
