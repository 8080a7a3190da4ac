"""Kubernetes' own JSON schemas, as the package kubernetes-validate has them, each parsed once for all tests.

The package itself reads a megabyte of definitions for every object that it validates.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions, major_minor, schema_contents
from referencing import Registry, Resource

NEWEST_MINOR = int(kubernetes_validate.latest_version().split(".")[1])


def validate_object(manifest: dict[str, Any], version: str) -> None:
    """Hold an object to the strict schema of a Kubernetes version ("1.34"). Raises jsonschema.ValidationError."""
    _validate(json.dumps(manifest, sort_keys=True), version)


@functools.lru_cache(maxsize=4096)
def _validate(manifest: str, version: str) -> None:
    """Validate an object; most of what the chart renders is the same for many values."""
    read = json.loads(manifest)
    _validator(read["kind"], read["apiVersion"], version).validate(read)


@functools.lru_cache(maxsize=256)
def _validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    folder, definitions = _definitions(version)
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = schema_contents(f"{folder}/{kind.lower()}-{group}.json", version)
    registry = Resource.from_contents(schema) @ definitions
    return jsonschema.Draft202012Validator(schema, registry=registry.crawl())


@functools.cache
def _definitions(version: str) -> tuple[str, Registry[Any]]:
    """Return the folder of a version's schemas and what they refer to."""
    known = {major_minor(found): found for found in all_versions()}[version]
    folder = f"kubernetes-json-schema/v{known}-local-strict"
    resource = Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))
    return folder, (resource @ Registry()).crawl()
