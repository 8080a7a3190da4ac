"""The bill of materials of each image is CycloneDX, whole, and says where each package comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from support.cluster.image import locked
from support.scripts import ROOT, script

licences = script("licences")
sbom = script("sbom")


@pytest.fixture(params=sbom.IMAGES, ids=lambda image: image.name)
def image(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def text(image: Any) -> str:
    return str(JsonV1Dot6(sbom.bill(image)).output_as_string())


def test_it_is_cyclonedx(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_has_every_package_by_hash_and_licence(image: Any, text: str) -> None:
    libraries = {c["name"]: c for c in json.loads(text)["components"] if c["type"] == "library"}
    assert {name: c["version"] for name, c in libraries.items()} == locked(image.packages)
    listed = (ROOT / "docker" / image.packages).read_text()
    for name, component in libraries.items():
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"
        assert component["hashes"], name
        assert all(f"sha256:{digest['content']}" in listed for digest in component["hashes"])
        assert component["licenses"], name


def test_it_has_the_networks_and_the_base(image: Any, text: str) -> None:
    components = json.loads(text)["components"]
    networks = {c["name"] for c in components if c["type"] == "machine-learning-model"}
    assert networks == {"glioserve-brain", "glioserve-opinion", "glioserve-demo-model"}
    packed = {p.name for p in (ROOT / "preprocess_service" / "glioserve_preprocess").rglob("*.onnx")}
    assert {f"{name}.onnx" for name in networks - {"glioserve-demo-model"}} == packed
    (base,) = (c for c in components if c["type"] == "container")
    assert f"ARG {image.base}={base['name']}:{base['version']}\n" in (ROOT / "docker" / "Dockerfile").read_text()


def test_what_needs_what_is_told(text: str) -> None:
    needs = {d["ref"]: d.get("dependsOn", []) for d in json.loads(text)["dependencies"]}
    numpy = next(ref for ref in needs if ref.startswith("numpy=="))
    scipy = next(ref for ref in needs if ref.startswith("scipy=="))
    assert needs[scipy] == [numpy]
    assert numpy in needs[json.loads(text)["metadata"]["component"]["bom-ref"]]


def test_a_package_of_another_version_is_told() -> None:
    with pytest.raises(SystemExit, match="is in the image: install constraints"):
        sbom._package("numpy", "0.1", [])
