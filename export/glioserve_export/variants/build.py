"""Make the variants that were asked for, and let none stay that its gate refuses.

Every gate compares with the fp32 ONNX's answers by ONNX Runtime, study by study, on the calibration set:

* fp16 as hardware that computes in fp16 would answer (:func:`fp16.rounded`), since no CPU runtime does;
* bf16 and int8 as OpenVINO answers on this machine. bf16 needs no file: it is how the fp32 file is run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_contract.records.facts.variants import VariantRecord
from glioserve_contract.records.recipe import Recipe
from glioserve_export.graphs.onnx_export import check_signature
from glioserve_export.graphs.probes import Array
from glioserve_export.progress import Progress
from glioserve_export.variants.compare import Comparison, compare
from glioserve_export.variants.fp16 import LARGEST, half_precision, rounded, subnormal_share
from glioserve_export.variants.int8 import quantised
from glioserve_export.variants.runtimes import RuntimeAnswers, by_onnxruntime, by_openvino, has_bf16
from glioserve_export.version_files import FP16_FILE, INT8_FILE, ONNX_FILE

VARIANTS = ("fp16", "bf16", "int8")
BY_OPENVINO = ("bf16", "int8")
MIN_STUDIES = 8
"""Fewest studies of a calibration set. Fewer would show nothing, and leave int8 under four for its ranges."""


@dataclass(frozen=True, eq=False)
class VariantCandidate:
    """A variant before its gate."""

    file: str
    content: bytes | None
    """The file's bytes; None where it is the fp32 file."""
    answers: RuntimeAnswers
    subnormal_share: float | None = None
    """Share of fp16 weights below fp16's normal range."""
    ranges_from_studies: int | None = None
    """Number of studies that int8's ranges come from."""


@dataclass(frozen=True)
class WantedVariants:
    """Variants that an export is to have."""

    names: tuple[str, ...] = ()
    """Names out of :data:`VARIANTS`."""
    optional: bool = False
    """One that its gate refuses is left out; else the export fails."""


@dataclass(frozen=True, eq=False)
class Variants:
    """Those that passed."""

    records: dict[str, VariantRecord] = field(default_factory=dict)
    """The manifest's ``variants``."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Name to content of those that are files of their own."""


def check_wanted(wanted: WantedVariants, calibration: bool) -> None:
    """Raise GLIO-5118 before any work where the calibration set or OpenVINO is missing."""
    names = wanted.names
    if names and not calibration:
        raise GlioserveError(
            ErrorCode.VARIANT_REFUSED, f"{', '.join(names)}: a variant needs a calibration set (--calibration DIR)."
        )
    if set(names) & set(BY_OPENVINO) and importlib.util.find_spec("openvino") is None:
        raise GlioserveError(
            ErrorCode.VARIANT_REFUSED,
            f"{', '.join(n for n in names if n in BY_OPENVINO)}: the gate needs OpenVINO: "
            f"{install_advice('openvino')}.",
        )


def make_variants(
    model: bytes,
    recipe: Recipe,
    images: Array,
    wanted: WantedVariants,
    *,
    progress: Progress,
    threads: int = 1,
) -> Variants:
    """Return the ``wanted`` variants of an fp32 ONNX ``model``.

    ``images`` FP32 [n, C, D, H, W]: the calibration set. GLIO-5118, with the figures, where one is beyond
    ``recipe.variant_limits`` and not optional.
    """
    check_wanted(wanted, calibration=len(images) > 0)
    if not wanted.names:
        return Variants()
    if len(images) < MIN_STUDIES:
        raise GlioserveError(
            ErrorCode.VARIANT_REFUSED, f"The calibration set has {len(images)} studies; {MIN_STUDIES} are the least."
        )
    made = Variants()
    progress(f"answers of fp32 to {len(images)} calibration studies")
    reference = by_onnxruntime(model, images, threads, lambda step: progress(f"  {step}"))
    for name in (n for n in VARIANTS if n in wanted.names):
        progress(f"variant {name}")
        try:
            candidate = _candidate(name, model, recipe, images, threads, lambda step: progress(f"  {step}"))
            figures = _gate(name, recipe, reference, candidate)
        except GlioserveError as error:
            if not wanted.optional or error.code is not ErrorCode.VARIANT_REFUSED:
                raise
            progress(f"left out: {error.detail}")
            continue
        progress(f"{name}: {figures}")
        if candidate.content is not None:
            made.files[candidate.file] = candidate.content
        made.records[name] = VariantRecord(
            file=candidate.file,
            runtime=candidate.answers.runtime,
            figures=figures.record(),
            limits=recipe.variant_limits,
            subnormal_share=candidate.subnormal_share,
            ranges_from_studies=candidate.ranges_from_studies,
        )
    return made


def _candidate(
    name: str, model: bytes, recipe: Recipe, images: Array, threads: int, step: Callable[[str], None]
) -> VariantCandidate:
    if name == "bf16":
        if not has_bf16():
            raise GlioserveError(
                ErrorCode.VARIANT_REFUSED,
                "This CPU has no bf16 (AVX512-BF16 or AMX) and would show what an emulation answers: export on one "
                "that has.",
            )
        return VariantCandidate(ONNX_FILE, None, by_openvino(model, images, "bf16", threads, step))
    if name == "fp16":
        content = half_precision(model)
        check_signature(onnx.load_from_string(content), recipe)
        runs = by_onnxruntime(content, images[:1], threads, step)
        answers = by_onnxruntime(rounded(content), images, threads, step)
        answers = RuntimeAnswers(
            answers.logits, answers.cam, runs.model_id, f"{answers.runtime}, every fp16 tensor rounded"
        )
        return VariantCandidate(FP16_FILE, content, answers, subnormal_share=subnormal_share(content))
    ranges = images[: len(images) // 2]  # the gate sees as many that the ranges do not come from
    step(f"ranges from {len(ranges)} studies")
    content = quantised(model, ranges)
    check_signature(onnx.load_from_string(content), recipe)
    answers = by_openvino(content, images, "f32", threads, step)
    return VariantCandidate(INT8_FILE, content, answers, ranges_from_studies=len(ranges))


def _gate(name: str, recipe: Recipe, reference: RuntimeAnswers, candidate: VariantCandidate) -> Comparison:
    found = candidate.answers
    if not (found.model_id == reference.model_id[0]).all() or found.model_id.dtype != np.int32:
        raise GlioserveError(ErrorCode.VARIANT_REFUSED, f"{name} gives another MODEL_ID than fp32.")
    figures = compare(recipe, reference.logits, reference.cam, found.logits, found.cam)
    if name == "fp16" and figures.not_finite:
        raise GlioserveError(
            ErrorCode.VARIANT_REFUSED,
            f"fp16: in {figures.not_finite} of {figures.studies} studies a value inside the network exceeds "
            f"{LARGEST:.0f}, where fp16 ends.",
        )
    figures.check(name, recipe.variant_limits)
    return figures
