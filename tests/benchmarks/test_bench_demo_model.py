"""The benchmark's arithmetic: which way round the classes are, and what counts as a hit."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from glioserve_contract import Modality
from glioserve_contract.records.manifest import Manifest
from support.models.recipes import fake_export
from support.studies.phantoms import small_phantom

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("classifier.bench_demo_model")


def outcome(bench: ModuleType, diagnosis: str, score: float, peak_mm: float) -> object:
    return bench.Outcome(0, diagnosis, "", score, False, peak_mm, 0.9, 0.2, 1.0)


def test_summary_counts_necrosis_as_positive(bench: ModuleType) -> None:
    cases = [("necrosis", 0.1, 0.0), ("necrosis", 0.7, 9.0), ("recurrence", 0.9, 7.9), ("recurrence", 0.6, np.inf)]
    outcomes = [outcome(bench, *case) for case in cases]
    outcomes.append(bench.Outcome(5, "necrosis", refused="GLIO-1601"))
    figures = bench.summary(outcomes, threshold=0.5)
    assert figures["auc"] == pytest.approx(0.75)
    assert figures["sensitivity"] == 0.5
    assert figures["specificity"] == 1.0
    assert figures["heatmap_hits"] == 0.5
    assert figures["heatmap_hits_of_all"] == pytest.approx(0.4)
    assert figures["heatmap_hits_inside"] == 0.25
    assert figures["refused"] == {"GLIO-1601": 1}
    assert figures["answered"] == 4


def test_distance_is_to_the_lesion_in_the_references_space(bench: ModuleType, tmp_path: Path) -> None:
    from glioserve_triton.served.versions import load_manifest

    manifest: Manifest = load_manifest(fake_export(tmp_path))
    phantom = small_phantom(2, "recurrence")
    centre = np.array(phantom.lesion_centre_lps_mm(Modality.T1CE))
    assert bench._distance_to_lesion_mm(phantom, manifest, centre) == 0
    radius = float(np.mean(phantom.lesion.radii_mm))
    away = bench._distance_to_lesion_mm(phantom, manifest, centre + np.array([radius + 20, 0, 0]))
    assert away == pytest.approx(20, abs=6)


def test_result_file_says_where_it_was_measured(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = importlib.import_module("common")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(common, "ROOT", tmp_path)
    record = json.loads(common.write_result("x", {"n": 1}, {"figure": 0.5}, ("numpy", "no-such-package")).read_text())
    assert record["figures"] == {"figure": 0.5}
    assert record["versions"]["numpy"] == np.__version__
    assert "no-such-package" not in record["versions"]
    assert record["machine"]["cores"] >= 1
    assert record["date"].endswith("+00:00")
