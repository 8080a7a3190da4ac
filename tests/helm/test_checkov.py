"""The scanner checkov finds nothing in the rendered examples that the chart has no reason for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from support.cluster.helm_tools import CI_VALUES, ROOT, Helm

pytestmark = [pytest.mark.helm, pytest.mark.slow]

CHECKOV = ROOT / "build" / "tools" / "checkov" / "bin" / "checkov"
REASONS = {
    "CKV_K8S_11": "a CPU limit would throttle preprocessing, whose threads follow from the request",
    "CKV_K8S_15": "IfNotPresent with a digest is the same image, and starts where the registry is away",
    "CKV_K8S_35": "a store's library reads its credentials from variables; so does the test its token, and both end",
    "CKV_K8S_40": "1000 is the image's user; podSecurityContext.runAsUser takes another one",
    "CKV_K8S_43": "image.digest is a value, and NOTES ask for it; the image is the site's own",
}
"""Findings that are left, everywhere."""
HOOKS_ONLY = {
    "CKV_K8S_8": "a test's pod ends by itself and has a deadline",
    "CKV_K8S_9": "a test's pod serves no caller",
}
"""Findings that are left in hooks alone."""


EXAMPLES = {("gpu-cdi-values", "CKV_K8S_22"): "what the example is for: CDI hooks that write to the root"}
"""Findings that are left in one example alone."""


@pytest.fixture(scope="module")
def failed(helm4: Helm, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    if not CHECKOV.exists():
        pytest.skip("no checkov: run make checkov")
    folder = tmp_path_factory.mktemp("rendered")
    for values in CI_VALUES:
        objects = [m for m in helm4.template(values) if m["metadata"].get("namespace")]  # none of a user's own
        (folder / f"{values.stem}.yaml").write_text(yaml.safe_dump_all(objects))
    options = ["--framework", "kubernetes", "--skip-download", "--compact", "--quiet", "--output", "json"]
    done = subprocess.run(
        [str(CHECKOV), *options, "--directory", str(folder)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 1000
    assert report["summary"]["parsing_errors"] == 0
    found: list[dict[str, str]] = report["results"]["failed_checks"]
    return found


def test_every_finding_that_is_left_has_its_reason(failed: list[dict[str, str]]) -> None:
    left = [
        f"{Path(each['file_path']).stem} {each['resource']}: {each['check_id']} {each['check_name']}"
        for each in failed
        if each["check_id"] not in REASONS
        and (Path(each["file_path"]).stem, each["check_id"]) not in EXAMPLES
        and not (each["check_id"] in HOOKS_ONLY and each["resource"].startswith("Pod.mri.rel-"))
    ]
    assert left == []


def test_no_reason_is_given_for_nothing(failed: list[dict[str, str]]) -> None:
    assert {each["check_id"] for each in failed} == REASONS.keys() | HOOKS_ONLY.keys() | {
        check for _, check in EXAMPLES
    }
