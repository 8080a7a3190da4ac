"""Every metric of the table is on the page of a real, supervised server after good and bad studies, and no other."""

import io
import json
import re
import threading
from itertools import product
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families

from glioserve_contract import metrics as m
from glioserve_phantom.dicom import dicom_files
from glioserve_triton.process.logs import Log
from glioserve_triton.supervisor.health import Health
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_triton.supervisor.supervisor import CANARY_INTERVAL_S, Supervisor
from glioserve_triton.supervisor.triton_page import triton_page
from support.prometheus import promtool
from support.server.triton import wait_until

pytestmark = pytest.mark.triton

PLANTED = ("Planted^Patient", "PLANTED-ID", "planted-request")
"""Words that no page may have: the name, the number and the request id of a patient's study."""


def infer(server, contents, **options):
    tensor = triton.InferInput("INSTANCES", [len(contents)], "BYTES")
    tensor.set_data_from_numpy(np.array(contents, dtype=object))
    with triton.InferenceServerClient(server.grpc_url) as raw:
        return raw.infer("glioma", [tensor], client_timeout=120, **options)


def refused(server, contents, **options):
    with pytest.raises(triton.InferenceServerException) as caught:
        infer(server, contents, **options)
    return caught.value.message()


def with_planted_names(content):
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PatientName, dataset.PatientID, dataset.SeriesDescription = PLANTED[0], PLANTED[1], PLANTED[0]
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


@pytest.fixture(scope="module")
def supervised(server, files, phantom):
    """The page before and after one good study, three bad ones and a round of canaries."""
    metrics, stop = SupervisorMetrics(), threading.Event()
    metrics.serves(server)
    with open("/dev/null", "w") as sink:
        supervisor = Supervisor(server, Health(), metrics, Log(sink, "text"))
        loop = threading.Thread(target=supervisor.watch, args=(stop.is_set, lambda: None))
        loop.start()

        def page():
            return metrics.page(lambda: triton_page(server.metrics_url)).decode()

        try:
            wait_until(lambda: "glioserve_canaries_total{" in page(), "the supervisor's series")
            before = page()
            answer = infer(server, files, request_id=PLANTED[2])
            named = [with_planted_names(content) for content in dicom_files(phantom, identified=True)]
            said = [refused(server, [b"not DICOM"]), refused(server, named), refused(server, files[:4])]
            said.append(refused(server, files, parameters={PLANTED[0]: PLANTED[1]}))
            wait_until(
                lambda: 'glioserve_canaries_total{model="report",outcome="alive"} 0.0' not in page(),
                "a canary's answer",
                timeout_s=3 * CANARY_INTERVAL_S,
            )
            wait_until(lambda: value(page(), "glioserve_queue_duration_seconds_count", {}) >= 5, "all are counted")
            after = page()
        finally:
            stop.set()
            loop.join(60)
    report = json.loads(answer.as_numpy("REPORT")[0])
    return SimpleNamespace(before=before, after=after, said=said, report=report)


def samples(page):
    return [s for family in text_string_to_metric_families(page) for s in family.samples]


def value(page, name, labels):
    found = [s.value for s in samples(page) if s.name == name and labels.items() <= s.labels.items()]
    return sum(found)


def families(page):
    return {
        line.split()[2]: line.split()[3]
        for line in page.splitlines()
        if line.startswith(("# TYPE glioserve_", "# TYPE nv_"))
    }


def test_every_metric_is_on_the_page_and_no_other_of_ours(supervised):
    found = families(supervised.after)
    without = {m.CERTIFICATE_EXPIRY, m.OUTCOME_STUDIES, m.OUTCOME_RATE, m.OUTCOME_EVIDENCE, m.OUTCOME_WORSE}
    wanted = {metric.name: metric.kind.value for metric in m.METRICS if metric not in without}  # no TLS, no study log
    assert {name: kind for name, kind in found.items() if name.startswith("glioserve_")} == wanted
    gpu = {name for name in m.TRITON_METRICS if name.startswith("nv_gpu")}
    assert set(m.TRITON_METRICS) - gpu <= set(found)


def test_labels_and_buckets_are_the_tables(supervised):
    declared = {metric.name: metric for metric in m.METRICS}
    for sample in samples(supervised.after):
        name = re.sub(r"_(bucket|count|sum)$", "", sample.name)
        metric = declared.get(sample.name) or declared.get(name)
        if metric is None:
            assert sample.name.startswith("nv_"), sample.name
            continue
        assert set(sample.labels) - {"le"} == set(metric.label_names), sample.name
        for label in metric.labels:
            assert not label.values or sample.labels[label.name] in label.values, sample
        if "le" in sample.labels:
            assert float(sample.labels["le"]) in (*metric.buckets, float("inf"))


SERVED = "1"
"""The version of the classifier, whose label is open."""


def test_every_series_of_a_counter_is_there_before_a_study_comes(supervised):
    """A rate and an increase see nothing of a series whose first value is 1; a ratio with it in it has no value."""
    there = {(s.name, tuple(sorted(s.labels.items()))) for s in samples(supervised.before)}
    missing = []
    for metric in m.METRICS:
        if metric.kind is m.Kind.GAUGE or metric in (m.SHADOW_STUDIES, m.SHADOW_DIFFERENCE, m.SHADOW_SCORE):
            continue  # no candidate is watched here
        name = metric.name + ("_count" if metric.kind is m.Kind.HISTOGRAM else "")
        opened = {"version": (SERVED,), "caller": (m.OTHER_CALLER,)}
        known = [label.values or opened[label.name] for label in metric.labels]
        for values in metric.pairs or product(*known):
            labels = tuple(sorted(zip(metric.label_names, values, strict=True)))
            if (name, labels) not in there:
                missing.append((name, labels))
    assert missing == []


def test_no_series_is_there_twice(supervised):
    keys = [(s.name, tuple(sorted(s.labels.items()))) for s in samples(supervised.after)]
    assert len(keys) == len(set(keys))


def grown(supervised, metric, suffix="", **labels):
    name = metric.name + suffix
    return value(supervised.after, name, labels) - value(supervised.before, name, labels)


def test_a_good_study_is_told_as_its_report_tells_it(supervised):
    report = supervised.report
    preprocess = report["preprocess"]
    version = report["model"]["version"]
    assert grown(supervised, m.STUDIES, outcome="answered") + grown(supervised, m.STUDIES, outcome="abstained") == 1
    assert grown(supervised, m.ANSWERS_TOTAL, version=version, answer=report["label"] or "abstained") == 1
    assert grown(supervised, m.SCORE, "_sum", version=version) == pytest.approx(report["score"], abs=1e-6)
    assert grown(supervised, m.STUDY_SLICES, "_sum") == sum(s["slices"] for s in preprocess["series"])
    rivals = [bool(series["runners_up"]) for series in preprocess["series"]]
    assert grown(supervised, m.SERIES, decision="only") == rivals.count(False)
    assert grown(supervised, m.SERIES, decision="preferred") == rivals.count(True)
    assert grown(supervised, m.OPINIONS) == len(preprocess["series"])
    assert grown(supervised, m.QUALITY) == len(preprocess["quality"]["checks"])
    moved = sum(r["mean_displacement_mm"] for r in preprocess["registrations"]) / 1000
    assert grown(supervised, m.DISPLACEMENT, "_sum") == pytest.approx(moved, abs=1e-6)
    brain = next(c["value"] for c in preprocess["quality"]["checks"] if c["name"] == "brain_volume")
    assert grown(supervised, m.BRAIN_VOLUME, "_sum") == pytest.approx(brain, abs=1e-6)


def test_its_times_are_in_the_histograms(supervised):
    assert grown(supervised, m.STUDY_SECONDS, "_count") == 1
    assert grown(supervised, m.STUDY_SECONDS, "_sum") >= sum(supervised.report["timings_s"].values()) * 0.5
    assert grown(supervised, m.QUEUE_SECONDS, "_count") == 5


def test_bad_studies_are_counted_once_by_code(supervised):
    codes = [re.search(r"GLIO-\d{4}", said)[0] for said in supervised.said]
    assert codes[:2] == ["GLIO-1201", "GLIO-1203"]
    assert codes[3] == "GLIO-1110"
    for code in set(codes):
        assert grown(supervised, m.STUDIES, outcome="refused", code=code) == codes.count(code)
    for outcome in ("failed", "cancelled", m.REJECTED, m.EXPIRED):
        assert grown(supervised, m.STUDIES, outcome=outcome) == 0


def test_nothing_of_a_patient_or_a_request_is_on_the_page(supervised):
    names = {PLANTED[0], PLANTED[1], PLANTED[2]}
    assert [name for name in names if name.lower() in supervised.after.lower()] == []
    for sample in samples(supervised.after):
        for label, text in sample.labels.items():
            assert re.fullmatch(r"[A-Za-z0-9_.+-]*", text), (sample.name, label)
            assert "1.2.826" not in text  # the root of the phantom's UIDs


def test_promtool_finds_no_fault_in_our_names(supervised):
    ours = [line for line in supervised.after.splitlines() if re.match(r"(# (HELP|TYPE) )?glioserve_", line)]
    done = promtool("check", "metrics", stdin="\n".join(ours) + "\n")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
