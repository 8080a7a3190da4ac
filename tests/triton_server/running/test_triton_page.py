"""The supervisor's reading of Triton's page: growth over reloads, and ends of studies that no model counts."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from glioserve_contract import metrics as m
from glioserve_triton.adapters.metrics import check_name
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_triton.supervisor.triton_page import PageReader, classifier_failures, with_ends

LOST, REJECTED, EXPIRED = ("failed", "GLIO-3103"), *m.TRITON_ENDS


def page(values: Mapping[str, float]) -> str:
    return "".join(f"{series} {value}\n" for series, value in values.items())


def failure(model: str, reason: str) -> str:
    return f'nv_inference_request_failure{{model="{model}",reason="{reason}",version="1"}}'


def study(outcome: str, code: str) -> str:
    return f'{m.STUDIES.name}{{code="{code}",outcome="{outcome}"}}'


def of(name: str, model: str) -> str:
    return f'{name}{{model="{model}",version="1"}}'


def ends(*pages: Mapping[str, float], lost_canaries: int = 0, silent_canaries: int = 0) -> dict[tuple[str, str], int]:
    reader = PageReader()
    for values in pages:
        reader.read(page(values))
    return {end: number for end, number in reader.ends(lost_canaries, silent_canaries).items() if number}


def test_failures_that_may_be_the_classifiers_are_counted() -> None:
    """Those of a native backend by its model, those of ours by studies that failed; refusals are not."""
    values = {
        failure("classifier", "BACKEND"): 2,
        failure("classifier", "REJECTED"): 4,
        failure("preprocess", "BACKEND"): 8,
        study("failed", "GLIO-3101"): 16,
        study("failed", "GLIO-2101"): 32,
        study("refused", "GLIO-1203"): 64,
        study("answered", ""): 128,
    }
    assert classifier_failures(page(values)) == 2 + 16 + 32
    assert classifier_failures("") == 0


def test_what_the_ensemble_failed_and_nobody_counted_was_rejected() -> None:
    values = {
        failure("glioma", "OTHER"): 20,
        failure("preprocess", "REJECTED"): 2,
        failure("preprocess", "BACKEND"): 3,
        study("refused", "GLIO-1201"): 4,
        study("answered", ""): 50,
    }
    assert ends(values) == {LOST: 3, EXPIRED: 2, REJECTED: 1}


def test_canaries_to_a_dead_process_are_no_studies() -> None:
    values = {failure("glioma", "OTHER"): 2, failure("preprocess", "BACKEND"): 3}
    assert ends(values, lost_canaries=2) == {LOST: 1}


def test_canaries_that_were_given_up_in_a_queue_are_not_cancelled_studies() -> None:
    values = {failure("glioma", "OTHER"): 4, failure("preprocess", "CANCELED"): 3}
    assert ends(values, silent_canaries=2) == {("cancelled", "GLIO-3102"): 1, REJECTED: 1}
    assert ends(values, silent_canaries=5) == {REJECTED: 2}


@pytest.mark.parametrize("after", [{study("refused", "GLIO-1201"): 1}, {}], ids=["begins at 0", "is gone"])
def test_a_model_that_is_loaded_anew_takes_no_study_back(after: dict[str, float]) -> None:
    first = {failure("glioma", "OTHER"): 8, study("refused", "GLIO-1201"): 4}
    second = {failure("glioma", "OTHER"): 8 + 2 * len(after), **after}
    assert ends(first, second) == {}
    assert ends(first, {**second, failure("glioma", "OTHER"): 10 + 2 * len(after)}) == {REJECTED: 1}


def test_times_are_of_what_has_ended_since() -> None:
    reader = PageReader()
    first = {
        of("nv_inference_request_success", "glioma"): 1,
        of("nv_inference_request_duration_us", "glioma"): 4_000_000,
    }
    assert reader.read(page(first)).answered_s == 4
    grown = reader.read(
        page(
            {
                of("nv_inference_request_success", "glioma"): 3,
                of("nv_inference_request_duration_us", "glioma"): 10_000_000,
                of("nv_inference_request_success", "preprocess"): 12,  # two studies and ten canaries
                of("nv_inference_queue_duration_us", "preprocess"): 6_000_000,
                f"{m.STUDY_BYTES.name}_count": 2,
            }
        )
    )
    assert (grown.answered, grown.answered_s, grown.waited, grown.mean_wait_s) == (2, 6, 2, 0.5)


def test_ends_join_the_family_of_the_page_and_no_series_is_there_twice() -> None:
    before = f"# TYPE {m.STUDIES.name} counter\n{study('failed', 'GLIO-3103')} 2\n# TYPE other gauge\nother 1\n"
    after = with_ends(before, {LOST: 3, REJECTED: 4}).splitlines()
    assert after[1:3] == [f"{study('failed', 'GLIO-3103')} 5", f"{study('rejected', 'GLIO-4101')} 4"]
    assert after[3:] == ["# TYPE other gauge", "other 1"]


def test_without_triton_the_family_is_still_there() -> None:
    assert with_ends("", {LOST: 1}).splitlines()[1:] == [
        f"# TYPE {m.STUDIES.name} counter",
        f"{study('failed', 'GLIO-3103')} 1",
    ]


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("t1ce_displacement", "displacement"),
        ("t1_registration_both_ways", "registration_both_ways"),
        ("t1ce_before_native", "t1ce_before_native"),
        ("brain_volume", "brain_volume"),
    ],
)
def test_a_check_is_counted_without_its_sequence(name: str, without: str) -> None:
    assert check_name(name) == without
    assert without in m.QUALITY_CHECKS


def test_labels_are_closed_or_say_where_their_values_come_from() -> None:
    names = [metric.name for metric in m.METRICS]
    assert len(names) == len(set(names))
    for metric in m.METRICS:
        assert bool(metric.buckets) == (metric.kind is m.Kind.HISTOGRAM)
        for label in metric.labels:
            assert bool(label.values) != bool(label.origin), (metric.name, label.name)
        assert len(list(metric.series())) <= 64, metric.name


def test_pages_are_taken_in_the_order_in_which_they_are_fetched() -> None:
    """Else a scrape beside the supervisor's own look would count an older page as counters that began again at 0."""
    metrics, fetching, go_on, order = SupervisorMetrics(), threading.Event(), threading.Event(), []
    study_pages = [
        page({of(m.TRITON_SUCCESSES, "glioma"): number, of(m.TRITON_DURATION, "glioma"): number * 1e6})
        for number in (3, 4)
    ]

    def older() -> str:
        order.append("older")
        fetching.set()
        assert go_on.wait(10)
        return study_pages[0]

    def newer() -> str:
        order.append("newer")
        return study_pages[1]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(metrics.look, older)
        assert fetching.wait(10)
        second = pool.submit(metrics.page, newer)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        assert order == ["older"]
        go_on.set()
        first.result(10)
        told = second.result(10).decode()
    assert f"{m.STUDY_SECONDS.name}_count 4.0" in told
