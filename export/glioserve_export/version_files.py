"""The files of one version's folder, ``classifier/<N>/``: which must be there, which may, which are made on site."""

from __future__ import annotations

from glioserve_contract.records.plan import PLAN_FILE as PLAN_FILE
from glioserve_contract.records.plan import PLAN_RECORD_FILE as PLAN_RECORD_FILE
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE as REFERENCE_CASE_FILE
from glioserve_contract.records.studies.drift import DRIFT_REFERENCE_FILE as DRIFT_REFERENCE_FILE

ONNX_FILE = "model.onnx"
"""fp32: the artefact of record, which every other precision is held to."""
RECIPE_FILE = "recipe.json"
MANIFEST_FILE = "manifest.json"
"""Names the others with their digests, and so is not among them."""
VECTORS_FILE = "vectors.npz"
"""The network's answers to the probe studies, which a TensorRT plan is checked against without torch."""
FP16_FILE = "model_fp16.onnx"
INT8_FILE = "model_int8.onnx"
CARD_FILES = ("model_card.md", "model_card.html")
"""Made at publication."""

REQUIRED_FILES = (ONNX_FILE, RECIPE_FILE)
OPTIONAL_FILES = (VECTORS_FILE, REFERENCE_CASE_FILE, DRIFT_REFERENCE_FILE, FP16_FILE, INT8_FILE, *CARD_FILES)

SITE_FILES = (PLAN_FILE, PLAN_RECORD_FILE)
"""A TensorRT plan and, beside it, the key that it was built for and its digest. Both belong to one GPU and one
TensorRT, are made where they serve, and are in no manifest."""
