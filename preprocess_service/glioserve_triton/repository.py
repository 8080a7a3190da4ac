"""What the adapters and the launcher ask of a model repository on disk."""

from __future__ import annotations

import json

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, same_major


def check_contract(model_config: str) -> None:
    """Refuse to load under a config (Triton's JSON of it) written for another contract (GLIO-4104)."""
    parameters = json.loads(model_config).get("parameters", {})
    version = parameters.get("contract_version", {}).get("string_value", "none")
    if not same_major(version):
        raise GlioserveError(
            ErrorCode.CONTRACT_MISMATCH, f"config.pbtxt is of contract {version}, the code of {CONTRACT_VERSION}."
        )
