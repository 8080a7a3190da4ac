"""Keys of other charts: the schema lets them through to the templates, which refuse each and say what to write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.cluster.helm_tools import CHART, CLAIM, Helm, HelmError, merged, nested

pytestmark = pytest.mark.helm

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
TEMPLATE = (CHART / "templates" / "_elsewhere.tpl").read_text(encoding="utf-8")
ELSEWHERE: dict[str, str] = yaml.safe_load(TEMPLATE.partition('"glioserve.elsewhere" -}}')[2].partition("{{- end")[0])


def let_through(schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield the paths that the schema leaves to the templates."""
    for key, child in schema.get("properties", {}).items():
        reference = child.get("$ref", "").rpartition("/")[2]
        if reference == "elsewhere":
            yield f"{at}{key}"
        else:
            yield from let_through(SCHEMA["definitions"][reference] if reference else child, f"{at}{key}.")


def test_schema_and_templates_have_the_same_keys() -> None:
    """A key that the schema alone knows would be taken and do nothing."""
    assert sorted(let_through(SCHEMA)) == sorted(ELSEWHERE)


def test_what_is_advised_is_a_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for path, advice in ELSEWHERE.items():
        words = re.match(r"[\w.*]+", advice)
        assert words, path
        first = words[0].rstrip(".*").split(".")
        known = first[0] in values or advice.startswith(("one of ", "examples/", "helm --", "kubectl "))
        assert known, f"{path}: {advice}"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_it_is_refused_with_what_to_write(helm4: Helm, path: str) -> None:
    with pytest.raises(HelmError, match=re.escape(f"{path} is not a value of this chart: use {ELSEWHERE[path]}.")):
        helm4.template(merged(CLAIM, nested(path, "x")))
