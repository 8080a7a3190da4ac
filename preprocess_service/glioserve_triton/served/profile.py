"""Needs of a profile (``classifier/configs/<profile>.pbtxt``): what it asks of a version and of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.tensors import CLASSIFIER_MODEL

_PLAN_SUFFIX = ".plan"
"""Suffix of a file that is built where it serves and is in no manifest."""
_ADVICE = {
    "model_int8.onnx": "export it with --variant int8",
    "model.plan": "build it with `glioserve engine build`",
}


@dataclass(frozen=True)
class ProfileNeeds:
    """Needs of a configuration, which ``glioserve export`` generates; empty where there is none."""

    backend: str = ""
    model_file: str = ""
    bf16: bool = False
    """True where it asks OpenVINO for bf16."""


def profile_needs(repository: Path, profile: str | None) -> ProfileNeeds:
    """Return the needs of the configuration that Triton takes: the profile's, else ``config.pbtxt``.

    Raises:
        GlioserveError: GLIO-5108 where the file is not a model configuration in protobuf's text format.
    """
    folder = repository / CLASSIFIER_MODEL.name
    files = [folder / "configs" / f"{profile}.pbtxt"] if profile is not None else []
    file = next((f for f in (*files, folder / "config.pbtxt") if f.is_file()), None)
    if file is None:
        return ProfileNeeds()
    config = read_config(file)
    return ProfileNeeds(
        backend=config.backend,
        model_file=config.default_model_filename,
        bf16=any(k.upper() == "HINT_BF16" and v.string_value.upper() == "YES" for k, v in config.parameters.items()),
    )


def check_profile(repository: Path, profile: str | None, serving: ServedVersion) -> None:
    """Raise GLIO-5108 where the version that serves lacks what the profile runs, before Triton logs it less clearly."""
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


def read_config(file: Path) -> ModelConfig:
    """Return a model's configuration; fields that only a newer Triton knows are passed over.

    Raises:
        GlioserveError: GLIO-5108 where the file is not a model configuration in protobuf's text format.
    """
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), ModelConfig(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        model = file.parents[1] if file.parent.name == "configs" else file.parent
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{model.name}/{file.name} is not a model configuration in protobuf's text format: {error}.",
        ) from error
