"""What a profile (``classifier/configs/<profile>.pbtxt``) asks of a version and of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.tensors import CLASSIFIER_MODEL

_PLAN_SUFFIX = ".plan"
"""Of a file that is built where it serves and is in no manifest."""
_ADVICE = {
    "model_int8.onnx": "export it with --variant int8",
    "model.plan": "build it with `glioserve engine build`",
}


@dataclass(frozen=True)
class ProfileNeeds:
    """Read from the configuration's text, which ``glioserve export`` generates."""

    backend: str
    model_file: str
    bf16: bool
    """Whether it asks OpenVINO for bf16."""


def profile_needs(repository: Path, profile: str | None) -> ProfileNeeds:
    """Of the configuration that Triton takes: the profile's, else ``config.pbtxt``; empty where neither is there."""
    folder = repository / CLASSIFIER_MODEL.name
    files = [folder / "configs" / f"{profile}.pbtxt"] if profile is not None else []
    file = next((f for f in (*files, folder / "config.pbtxt") if f.is_file()), None)
    text = re.sub(r"#.*", "", file.read_text(encoding="utf-8")) if file else ""
    return ProfileNeeds(
        backend=_value(text, "backend"),
        model_file=_value(text, "default_model_filename"),
        bf16=re.search(r'"HINT_BF16"\s+value\s*:?\s*{\s*string_value\s*:\s*"YES"', text, re.IGNORECASE) is not None,
    )


def check_profile(repository: Path, profile: str | None, serving: ServedVersion) -> None:
    """GLIO-5108 where the version that serves has not what the profile runs: better here than deep in Triton's log."""
    needs = profile_needs(repository, profile)
    file, manifest = needs.model_file, serving.manifest
    there = (repository / serving.name / serving.version / file).is_file()
    if file and not (there and (file in manifest.files or file.endswith(_PLAN_SUFFIX))):
        advice = _ADVICE.get(file, "export the version again")
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{serving.name}/{serving.version} has no {file}, which the profile {profile or 'of config.pbtxt'} runs: "
            f"{advice}, or serve another profile.",
        )
    if needs.bf16 and "bf16" not in manifest.variants:
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{serving.name}/{serving.version} was never shown to answer alike in bf16, as the profile {profile} runs "
            "it: export it with --variant bf16, or serve another profile.",
        )


def _value(text: str, field: str) -> str:
    found = re.search(rf'\b{field}\s*:\s*"([^"]*)"', text)
    return found.group(1) if found else ""
