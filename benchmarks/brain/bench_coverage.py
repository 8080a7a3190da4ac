"""Count lost signal that the coverage checks catch, and sound sequences that they flag, on phantoms and FG-6692.

``make bench NAME=coverage [ARGS='--phantoms 6 --first N --whole 2']``: every sequence of every study, spoilt in each
way of ``brain.coverage_spoilt`` and looked at in the brain of the sound study; then whole studies through the pipeline,
whose T1ce (the reference) or T2 is spoilt. FG-6692 takes part where ``../shared/data`` is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from brain.coverage_spoilt import LOOKALIKES, LOSSES, Mask, spoilt
from common import print_table, write_result
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, BrainExtraction, Grid, Recipe
from glioserve_dicom.volumes.geometry import SequenceVolume, apply, canonical
from glioserve_phantom import make_phantom
from glioserve_preprocess.arrays import DoubleArray
from glioserve_preprocess.brain.coverage import coverage_checks
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_preprocess.pipeline import preprocess_volumes
from glioserve_preprocess.registration.register import register_all
from glioserve_preprocess.tensor.grid import sample
from registration.cases import real_study

FIRST_SEED = 7000
CHANNELS = (Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR)


@dataclass(frozen=True, eq=False)
class CoverageStudy:
    """A sound study with its brain in every sequence's own space."""

    name: str
    volumes: Mapping[Modality, SequenceVolume]
    points_lps_mm: Mapping[Modality, DoubleArray]
    masks: Mapping[Modality, Mask]


def studies(phantoms: int, first: int) -> Iterator[CoverageStudy]:
    """Yield the phantoms and, where it is there, FG-6692."""
    for seed in range(FIRST_SEED + first, FIRST_SEED + first + phantoms):
        phantom = make_phantom(seed)
        yield _study(f"phantom {seed}", {m: phantom.volume(m) for m in CHANNELS})
    real = real_study()
    if real is not None:
        yield _study("FG-6692", {m: real.volumes[m] for m in CHANNELS})


def _study(name: str, native: Mapping[Modality, SequenceVolume]) -> CoverageStudy:
    volumes = {m: canonical(v) for m, v in native.items()}
    reference, *others = volumes.values()
    to_moving = {r.modality: r.moving_lps_from_reference_lps for r in register_all(reference, others, 2)}
    to_moving[reference.modality] = np.eye(4)
    brain = find_brain(reference, others, to_moving, BrainExtraction(), threads=2)
    masks = {
        m: sample(brain.mask, reference.geometry, v.geometry, np.linalg.inv(to_moving[m])) >= 0.5
        for m, v in volumes.items()
    }
    return CoverageStudy(name, volumes, {m: apply(to_moving[m], brain.widest_lps_mm) for m in volumes}, masks)


def flagged_by_checks(study: CoverageStudy, modality: Modality, kind: str, seed: int) -> tuple[bool, dict[str, float]]:
    """Return whether the signal checks flag the sequence, and their figures."""
    rng = np.random.default_rng([seed, CHANNELS.index(modality), [*LOSSES, *LOOKALIKES].index(kind)])
    volume = spoilt(study.volumes[modality], study.masks[modality], kind, rng)
    checks = [c for c in coverage_checks(volume, study.points_lps_mm[modality]) if "brain_coverage" not in c.name]
    return any(c.verdict == "review" for c in checks), {c.name.removeprefix(f"{modality}_"): c.value for c in checks}


def whole_verdict(study: CoverageStudy, modality: Modality, kind: str, seed: int) -> str:
    """Return the pipeline's verdict on the study with one sequence spoilt: ``ok``, ``review`` or ``refused``."""
    rng = np.random.default_rng([seed, CHANNELS.index(modality), 99])
    volume = spoilt(study.volumes[modality], study.masks[modality], kind, rng)
    recipe = Recipe(
        schema=RECIPE_SCHEMA,
        name="coverage",
        architecture=Architecture("resnet10"),
        channels=(Modality.T1CE, Modality.T1, Modality.T2),
        classes=("necrosis", "recurrence"),
        grid=Grid((48, 48, 48), (4.0, 4.0, 4.0)),
        min_slices=8,
    )
    sent = {m: study.volumes[m] for m in recipe.channels}
    try:
        return preprocess_volumes({**sent, modality: volume}, recipe, threads=2).record.quality.verdict
    except GlioserveError:
        return "refused"


def main() -> None:
    """Print and keep both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=6)
    parser.add_argument("--first", type=int, default=1000, help="number of the first phantom: others chose the limits")
    parser.add_argument("--whole", type=int, default=2, help="number of phantoms that go through the whole pipeline")
    parser.add_argument("--figures", action="store_true", help="print the figures of every sequence")
    args = parser.parse_args()
    counts: dict[str, dict[str, int]] = {}
    whole: dict[str, dict[str, int]] = {}
    for number, study in enumerate(studies(args.phantoms, args.first)):
        real = "FG-6692" if study.name == "FG-6692" else "phantoms"
        for kind in (*LOSSES, *LOOKALIKES):
            for modality in CHANNELS:
                flagged, figures = flagged_by_checks(study, modality, kind, number)
                row = counts.setdefault(kind, {})
                column = f"{real}: {'flagged' if flagged else 'passed'}"
                row[column] = row.get(column, 0) + 1
                if args.figures and flagged != (kind in LOSSES):
                    print(f"{study.name} {modality} {kind}: {figures}")
            if number < args.whole or (args.whole and real == "FG-6692"):
                for modality in (Modality.T1CE, Modality.T2):
                    verdict = whole_verdict(study, modality, kind, number)
                    row = whole.setdefault(kind, {})
                    row[f"{modality}: {verdict}"] = row.get(f"{modality}: {verdict}", 0) + 1
        print(f"{study.name} done", flush=True)
    columns = [f"{where}: {what}" for where in ("phantoms", "FG-6692") for what in ("flagged", "passed")]
    print_table("One sequence", ["", *columns], [[k, *(r.get(c, 0) for c in columns)] for k, r in counts.items()])
    verdicts = [f"{m}: {v}" for m in (Modality.T1CE, Modality.T2) for v in ("ok", "review", "refused")]
    print_table("Whole studies", ["", *verdicts], [[k, *(r.get(v, 0) for v in verdicts)] for k, r in whole.items()])
    totals = {
        "losses": sum(n for k in LOSSES for n in counts[k].values()),
        "missed": sum(n for k in LOSSES for c, n in counts[k].items() if c.endswith("passed")),
        "lookalikes": sum(n for k in LOOKALIKES for n in counts[k].values()),
        "flagged": sum(n for k in LOOKALIKES for c, n in counts[k].items() if c.endswith("flagged")),
        "whole_losses": sum(n for k in LOSSES for n in whole.get(k, {}).values()),
        "whole_missed": sum(n for k in LOSSES for v, n in whole.get(k, {}).items() if v.endswith("ok")),
    }
    print(f"\nof {totals['losses']} losses {totals['missed']} are missed by the checks of signal")
    print(f"of {totals['lookalikes']} sound sequences {totals['flagged']} are flagged by them")
    print(f"of {totals['whole_losses']} studies with a loss {totals['whole_missed']} end in quality ok")
    settings = {"phantoms": args.phantoms, "first": args.first, "whole": args.whole}
    figures_kept = {**totals, "sequences": counts, "studies": whole}
    write_result("coverage", settings, figures_kept, ("numpy", "scipy", "onnxruntime"))


if __name__ == "__main__":
    main()
