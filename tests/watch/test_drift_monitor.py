"""The monitor flags what changed, forgets nothing at a restart, counts each study once, and stays small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, to_dict
from glioserve_contract.metrics.drift import DRIFT_WINDOWS as WINDOWS
from glioserve_contract.records.studies.drift import MOST_VALUES, DriftReference, parse_drift_reference
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.drift import monitor as monitor_module
from glioserve_watch.drift.monitor import MOST_SITES, MOST_VERSIONS, OTHER_SITES, DriftMonitor
from glioserve_watch.drift.reference import make_reference, summary
from glioserve_watch.drift.state import STATE_FILE
from glioserve_watch.drift.values import values_of
from support.models.recipes import tiny_recipe
from support.results.drifting import DIGEST, a_reference, a_study, records

REFERENCE = a_reference()
Told = list[tuple[str, str, str, bool]]


def references(version: str, digest: str) -> DriftReference | None:
    return REFERENCE if digest == DIGEST else None


def a_monitor(folder: Path | None = None) -> tuple[DriftMonitor, Told]:
    told: Told = []
    return DriftMonitor(references, folder, lambda *change: told.append(change)), told


def until_told(monitor: DriftMonitor, told: Told, stream: Iterator[StudyRecord], most: int) -> int | None:
    """Number of studies after which something is flagged."""
    for number, record in enumerate(islice(stream, most), 1):
        monitor.take([record])
        if told:
            return number
    return None


def test_a_stable_stream_is_quiet_and_a_shifted_one_is_flagged() -> None:
    monitor, told = a_monitor()
    assert until_told(monitor, told, records(1), 400) is None
    needed = until_told(monitor, told, records(2, shift=6.0), 50)
    assert needed is not None
    assert {change[:3] for change in told} == {("1", "north", "t1_pixel_spacing_mm")}
    for record in islice(records(3), 250):
        monitor.take([record])
    assert told[-1] == ("1", "north", "t1_pixel_spacing_mm", False), "cleared once the windows have moved on"
    assert monitor.reports()[0].flags == frozenset()


def test_another_vendor_is_flagged_and_a_new_site_has_a_stream_of_its_own() -> None:
    monitor, told = a_monitor()
    monitor.take(list(islice(records(1), 200)))
    assert until_told(monitor, told, records(2, site="south", vendors=("CANON",)), 50) is not None
    assert told == [("1", "south", "manufacturer", True)]
    assert {(r.site, r.studies) for r in monitor.reports()} >= {("north", 200)}


def test_a_restart_forgets_nothing_and_a_record_that_comes_twice_counts_once(tmp_path: Path) -> None:
    monitor, told = a_monitor(tmp_path)
    batch = list(islice(records(2, shift=6.0), 60))
    monitor.take(batch[:40])
    monitor.take(batch[20:])
    assert told
    before = monitor.reports()
    assert before[0].studies == 60
    again, told_again = a_monitor(tmp_path)
    assert again.reports() == before
    again.take(batch[50:])
    assert again.reports() == before
    assert told_again == []


def test_a_state_that_cannot_be_saved_is_an_oserror_and_counts_once(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    monitor, _ = a_monitor(folder)
    folder.rmdir()
    batch = list(islice(records(1), 30))
    with pytest.raises(OSError, match="No such file"):
        monitor.take(batch)
    folder.mkdir()
    monitor.take(batch)
    assert monitor.reports()[0].studies == 30
    assert len(json.loads((folder / STATE_FILE).read_text())["streams"][0]["studies"]) == 30


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text('{"schema": "glioserve/drift/1"}')
    with pytest.raises(GlioserveError) as caught:
        a_monitor(tmp_path)
    assert caught.value.code is ErrorCode.INVALID_STUDY_LOG


def test_studies_without_an_answer_or_a_reference_are_passed_over() -> None:
    monitor, _ = a_monitor()
    record = next(records(1))
    monitor.take([replace(record, features=None, score=None), next(records(1, digest="sha256:" + "b" * 64))])
    assert monitor.reports() == []


def test_sites_versions_windows_and_numbers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "_REMEMBERED", 50)
    monitor, _ = a_monitor(tmp_path)
    for version in range(MOST_VERSIONS + 2):
        for site in range(MOST_SITES + 5):
            monitor.take([next(records(1, site=f"site-{site}", version=str(version)))])
    found = monitor.reports()
    assert {r.version for r in found} == {"2", "3", "4", "5"}
    assert len(found) == MOST_VERSIONS * (MOST_SITES + 1)
    assert {r.studies for r in found if r.site == OTHER_SITES} == {5}
    monitor.take(list(islice(records(9, version="5", site="site-0"), 3 * max(WINDOWS))))
    assert max(r.studies for r in monitor.reports()) == max(WINDOWS)
    assert len(json.loads((tmp_path / STATE_FILE).read_text())["taken"]) == 50


def test_another_network_under_the_same_number_begins_anew() -> None:
    other = replace(REFERENCE, weights_digest="sha256:" + "c" * 64)
    monitor = DriftMonitor(lambda _, digest: REFERENCE if digest == DIGEST else other, None, lambda *_: None)
    monitor.take(list(islice(records(1), 30)))
    monitor.take([next(records(2, digest=other.weights_digest))])
    assert [r.studies for r in monitor.reports()] == [1]


# The reference


def test_a_reference_comes_back_from_its_file_and_belongs_to_one_network() -> None:
    recipe = tiny_recipe()
    content = json.dumps(to_dict(REFERENCE)).encode()
    assert parse_drift_reference(content, recipe, DIGEST) == REFERENCE
    for other in (replace(recipe, temperature=2.0), recipe.with_min_slices(20)):
        with pytest.raises(GlioserveError, match="other weights, another preprocessing or another temperature"):
            parse_drift_reference(content, other, DIGEST)
    with pytest.raises(GlioserveError, match="cannot be read"):
        parse_drift_reference(content[:-2], recipe, DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": {"patient_age": [1.0]}},
        {"numbers": {"score": [0.2, 0.1]}},
        {"numbers": {"score": [0.1] * (MOST_VALUES + 1)}},
        {"categories": {"manufacturer": {}}},
        {"categories": {"manufacturer": {"GE": 0}}},
        {"studies": 29},
    ],
)
def test_a_reference_that_is_none_is_refused(change: dict[str, object]) -> None:
    content = json.dumps({**to_dict(REFERENCE), **change}).encode()
    with pytest.raises(GlioserveError) as caught:
        parse_drift_reference(content, tiny_recipe(), DIGEST)
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT


def test_too_few_studies_make_no_reference() -> None:
    rng = np.random.default_rng(0)
    studies = [values_of(a_study(rng), 0.5) for _ in range(29)]
    with pytest.raises(SchemaError, match="at least 30"):
        make_reference(studies, tiny_recipe(), DIGEST, "few")


def test_a_large_cohort_is_summarised_without_moving_its_distribution() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    kept = np.array(summary(list(values)))
    assert len(kept) == MOST_VALUES
    at = np.sort(values)
    apart = np.searchsorted(kept, at, side="right") / len(kept) - np.arange(1, 5001) / 5000
    assert np.abs(apart).max() < 1.5 / MOST_VALUES
