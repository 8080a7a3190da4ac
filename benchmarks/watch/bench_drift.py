"""Drift: how soon another scanner is flagged, and whether a stable stream is ever.

Phantoms go the whole way from DICOM to the answer once, by the usual scanner and by three others: finer voxels
(``spacing``), more noise and coil field (``intensity``), another manufacturer and field strength in the headers
(``vendor``). For each seed the usual phantoms are split anew, some for the reference, the rest for the stream; a stream
draws whole studies of its phantoms with replacement and adds noise to each figure (a tenth of its standard deviation).
The phantoms of the other scanners are drawn in the same way. Last, the rule's bound is held to streams of uniform
numbers, for which the distance has the same distribution as for every continuous figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from bars import Bar, print_bars
from common import print_table, write_result
from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.metrics.drift import DRIFT_WINDOWS
from glioserve_contract.records.report import ModelRecord
from glioserve_contract.records.studies.drift import DriftReference
from glioserve_contract.records.studies.study import StudyFeatures, StudyRecord
from glioserve_triton.served.versions import load_manifest
from glioserve_watch.drift.distance import chance_of, ks_distance
from glioserve_watch.drift.monitor import DriftMonitor
from glioserve_watch.drift.reference import make_reference
from glioserve_watch.drift.rule import FALSE_FLAGS_PER_STUDY, limit_of
from glioserve_watch.drift.values import values_of
from watch.phantom_studies import MODEL, SCANNERS, Answered, make_studies, studies

USUAL_SEEDS, OTHER_SEEDS = range(900_000, 900_072), range(910_000, 910_014)
REFERENCE_SHARE = 0.6
JITTER = 0.1
STABLE_STUDIES, BEFORE_CHANGE, MOST_SHIFTED = 2_000, 300, 100


def drawn(pool: Sequence[Answered], scale: dict[str, float], seed: int) -> Iterator[StudyRecord]:
    """Yield studies of the pool without an end, each with noise of its own."""
    rng = np.random.default_rng([seed, 7])
    model = ModelRecord("demo", "1", load_manifest(MODEL).weights_digest, "resnet10")
    number = 0
    while True:
        number += 1
        study = pool[rng.integers(len(pool))]
        numbers = {
            name: value + (name != "field_strength_tesla") * JITTER * scale[name] * float(rng.standard_normal())
            for name, value in study.features.numbers.items()
        }
        yield StudyRecord(
            f"{number:020d}-{seed}-{len(pool)}", "2026-01-31T23:59:59.000Z", "r", "answered", "", "report",
            CONTRACT_VERSION, caller="north", model=model, score=study.score,
            features=StudyFeatures(numbers, study.features.categories, study.features.histograms),
        )  # fmt: skip


class Watch:
    """A monitor and the flags that it set."""

    def __init__(self, reference: DriftReference) -> None:
        self.flags: list[str] = []
        self._monitor = DriftMonitor(lambda *_: reference, None, self._told)

    def _told(self, version: str, site: str, feature: str, is_set: bool) -> None:
        if is_set:
            self.flags.append(feature)

    def feed(self, stream: Iterator[StudyRecord], most: int) -> int | None:
        """Return the number of studies after which something is flagged; None where nothing is."""
        for number in range(1, most + 1):
            self._monitor.take([next(stream)])
            if self.flags:
                return number
        return None


def smallest_bounds(reference_size: int, streams: int, looks: int) -> list[float]:
    """Return the smallest bound of any look at each of so many streams of uniform numbers."""
    rng, window = np.random.default_rng(0), DRIFT_WINDOWS[0]
    found = []
    for _ in range(streams):
        reference, values = np.sort(rng.uniform(size=reference_size)), rng.uniform(size=looks + window)
        distance = max(ks_distance(reference, np.sort(values[i : i + window])) for i in range(looks))
        found.append(chance_of(distance, reference_size, window))
    return found


def smallest_flagged(m: int, n: int, features: int) -> float:
    """Return the smallest distance that is flagged."""
    return float(np.sqrt((1 - np.log(limit_of(features))) * (m + n) / (2 * m * n)))


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--usual", type=int, default=len(USUAL_SEEDS), help="phantoms of the usual scanner")
    args = parser.parse_args()
    usual_seeds = USUAL_SEEDS[: args.usual]
    make_studies(usual_seeds, ("usual",), args.workers)
    make_studies(OTHER_SEEDS, tuple(SCANNERS), args.workers)
    usual = studies(usual_seeds, "usual") + studies(OTHER_SEEDS, "usual")
    others = {name: studies(OTHER_SEEDS, name) for name in SCANNERS if name != "usual"}
    scale = {n: float(np.std([s.features.numbers[n] for s in usual])) for n in usual[0].features.numbers}
    manifest = load_manifest(MODEL)
    rows, stable_flags, needed = [], 0, []
    features = 0
    for seed in range(args.seeds):
        order = np.random.default_rng(seed).permutation(len(usual))
        cut = round(REFERENCE_SHARE * len(usual))
        values = [values_of(usual[i].features, usual[i].score) for i in order[:cut]]
        reference = make_reference(values, manifest.recipe, manifest.weights_digest, "phantoms")
        features = len(reference.numbers) + len(reference.categories)
        pool = [usual[i] for i in order[cut:]]
        watch = Watch(reference)
        stable = watch.feed(drawn(pool, scale, seed), STABLE_STUDIES)
        stable_flags += stable is not None
        rows.append([seed, "usual", "–", "no flag" if stable is None else stable, ", ".join(watch.flags)])
        for name, shifted in others.items():
            for before in (0, BEFORE_CHANGE):
                watch = Watch(reference)
                assert not before or watch.feed(drawn(pool, scale, seed + 1000), before) is None
                found = watch.feed(drawn(shifted, scale, seed), MOST_SHIFTED)
                needed.append(float("nan") if found is None else float(found))
                rows.append([seed, name, before, found or "no flag", ", ".join(watch.flags)])
    print_table(
        f"{len(usual)} usual phantoms, {', '.join(f'{len(s)} {n}' for n, s in others.items())}; {cut} in the reference",
        ["seed", "scanner", "usual studies before", "flagged after", "features"],
        rows,
    )
    bounds = np.array(smallest_bounds(cut, 100, 500))
    simulated = {allowed: float((bounds < allowed).mean()) for allowed in (1e-3, 1e-4)}
    print_table(
        "Streams of 500 uniform numbers that are flagged at any look, of 100",
        ["bound of a look", "flagged", "the sum allows"],
        [[f"{allowed:g}", share, min(1.0, 500 * allowed)] for allowed, share in simulated.items()],
    )
    sizes = [(m, n) for m in (cut, 200) for n in DRIFT_WINDOWS]
    distances = {f"{n} studies, reference of {m}": smallest_flagged(m, n, features) for m, n in sizes}
    print_table(f"Smallest distance that is flagged, of {features} features", ["", "distance"], list(distances.items()))
    bars = [
        Bar("studies until another scanner is flagged, worst", max(needed), 50, "studies", note="NaN: never"),
        Bar(f"stable streams of {STABLE_STUDIES} with a flag", stable_flags, 0, "streams", note=f"of {args.seeds}"),
        *(Bar(f"false streams at {a:g} a look", s, 500 * a, "share") for a, s in simulated.items()),
    ]
    print_bars(bars)
    settings = {"seeds": args.seeds, "usual": len(usual), "others": {n: len(s) for n, s in others.items()},
                "reference": cut, "jitter": JITTER, "false_flags_per_study": FALSE_FLAGS_PER_STUDY,
                "features": features}  # fmt: skip
    figures = {"streams": rows, "smallest_flagged": distances, "bars": [bar.record() for bar in bars]}
    write_result("drift", settings, figures, ("numpy", "SimpleITK", "onnxruntime"))


if __name__ == "__main__":
    main()
