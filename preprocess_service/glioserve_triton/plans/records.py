"""The record beside a TensorRT plan on disk, and whether the plan is the one that it was written for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from glioserve_contract import SchemaError, from_dict
from glioserve_contract.records.plan import PLAN_FILE, PLAN_RECORD_FILE, PlanRecord, mismatch
from glioserve_preprocess.files import file_digest


def load_plan_record(folder: Path) -> PlanRecord:
    """Read ``folder/plan.json``; GLIO-5120 where there is none, or it does not fit its schema."""
    try:
        return from_dict(PlanRecord, json.loads((folder / PLAN_RECORD_FILE).read_bytes()))
    except FileNotFoundError:
        raise mismatch(f"There is no {PLAN_RECORD_FILE}: no plan was built for it.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, SchemaError) as error:
        raise mismatch(f"{PLAN_RECORD_FILE} cannot be read: {error}.") from error


def check_plan(folder: Path, files: Mapping[str, str]) -> PlanRecord:
    """Return the record of a version's plan, held to the plan itself and to the ONNX file it was built from.

    ``files``: the manifest's, name to digest. GLIO-5120 says what does not fit. Whether the plan is for this machine
    is :func:`check_key`'s to check.
    """
    record = load_plan_record(folder)
    if files.get(record.onnx_file) != record.key.onnx_digest:
        raise mismatch(f"It was built from another {record.onnx_file} than the version's.")
    try:
        digest = file_digest(folder / PLAN_FILE)
    except OSError as error:
        raise mismatch(f"{PLAN_FILE} cannot be read: {error.strerror}.") from error
    if digest != record.plan_digest:
        raise mismatch(f"{PLAN_FILE} is not the file that {PLAN_RECORD_FILE} was written for.")
    return record
