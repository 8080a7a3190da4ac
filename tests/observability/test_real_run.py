"""A real server, a real Prometheus, the chart's rules by the real Helm: faults ring their alerts, and no others ring.

Windows and ``for`` of the rules are shortened alike; thresholds are the chart's.
"""

import os
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_contract.limits import MAX_WAITING_STUDIES
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.stubs import stubs_of
from support.cluster.rules import POD, rendered_rules, shortened
from support.prometheus import running_prometheus
from support.server.holding import hold_adapter
from support.server.serve import serving
from support.server.tiny_repository import ask, write_tiny_repository
from support.server.triton import wait_until
from support.studies.bad_studies import send

pytestmark = [pytest.mark.triton, pytest.mark.helm, pytest.mark.long]

SHORTER = 20
LABELS = {"namespace": "mri", "pod": POD}
EMBEDDED = {"GlioserveBelowFloor"}
"""Alerts that ring wherever the embedded server runs: it is below both floors."""
INSTANCES = 2


def page_of(serve):
    return serve.probe_url().removeprefix("http://")


def stub(serve, model):
    return next(s.pid for s in stubs_of(serve.server_pid()).values() if s.model == model)


def test_a_killed_stage_rings_and_nothing_else(tmp_path):
    """The quick one, on a repository of toy models."""
    repository = write_tiny_repository(tmp_path / "repository")
    rules = shortened(rendered_rules(), SHORTER)
    with serving(repository) as serve, triton.InferenceServerClient(serve.grpc_url()) as client:
        with running_prometheus(tmp_path, page_of(serve), LABELS, rules) as prometheus:
            ask(client, np.array([[1, 2, 3, 4]], dtype=np.float32))
            wait_until(lambda: bool(prometheus.ask("glioserve_ready == 1")), "it is scraped")
            os.kill(stub(serve, "preprocess"), signal.SIGSTOP)  # continued at once: no reason to ring
            ask(client, np.array([[1, 2, 3, 4]], dtype=np.float32))
            assert prometheus.alerts("firing", "10m") <= EMBEDDED
            os.kill(stub(serve, "preprocess"), signal.SIGKILL)
            wait_until(lambda: "GlioserveStageReplaced" in prometheus.alerts("firing", "10m"), "the alert")
            assert prometheus.alerts("firing", "10m") <= {"GlioserveStageReplaced"} | EMBEDDED
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0


class Callers:
    """Callers with bad studies, all at once; they know what became of them."""

    def __init__(self, url):
        self._url, self._pool, self._sent = url, ThreadPoolExecutor(32), []

    def send(self, number, timeout_s=None):
        self._sent += [self._pool.submit(send, self._url, [b"not DICOM"], timeout_s) for _ in range(number)]

    def told(self):
        """Return what the channels were told, counted, once all have been."""
        ends = Counter(sent.result(240) for sent in self._sent)
        self._pool.shutdown()
        return ends


@pytest.mark.slow
def test_each_fault_rings_its_own_alerts(tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(demo_repository(tmp_path / "demo"), repository)
    hold = hold_adapter(repository)
    rules = shortened(rendered_rules({"stages": {"timeoutSeconds": 40}}), SHORTER)  # a hang is told from 32 s on
    good = dicom_files(make_phantom(21, "recurrence"), identified=False)
    with serving(repository) as serve:
        url = serve.grpc_url()
        with running_prometheus(tmp_path, page_of(serve), LABELS, rules) as prometheus:

            def rings(*names):
                found = prometheus.alerts("firing", "30m")
                return set(names) <= found

            def count(outcome):
                samples = prometheus.ask(f'sum(glioserve_studies_total{{outcome=~"{outcome}"}})')
                return float(samples[0]["value"][1]) if samples else 0.0

            # Good and bad studies: all is as it should be.
            assert send(url, good) == "answered"
            assert send(url, [b"not DICOM"]) == "refused"
            wait_until(lambda: count("answered|abstained") == 1 and count("refused") == 1, "both are counted")
            assert prometheus.alerts("firing", "30m") <= EMBEDDED

            # A dead stage, and one that is stopped.
            os.kill(stub(serve, "report"), signal.SIGKILL)
            wait_until(lambda: rings("GlioserveStageReplaced"), "the dead stage")
            wait_until(lambda: bool(prometheus.ask("glioserve_ready == 1")), "repaired")
            os.kill(stub(serve, "preprocess"), signal.SIGSTOP)
            assert send(url, good) == "answered"
            assert prometheus.alerts("firing", "30m") <= EMBEDDED | {"GlioserveStageReplaced"}

            # Nothing is begun: some expire, the queue fills, the rest is turned away.
            callers = Callers(url)
            hold.touch()
            callers.send(INSTANCES)
            wait_until(lambda: bool(prometheus.ask(f"sum(glioserve_stage_in_flight) == {INSTANCES}")), "all are busy")
            callers.send(4, timeout_s=2)
            wait_until(lambda: pending(prometheus) == 4, "four wait")
            callers.send(MAX_WAITING_STUDIES + 4)
            wait_until(lambda: pending(prometheus) >= MAX_WAITING_STUDIES, "the queue is full")
            wait_until(lambda: rings("GlioserveStalled", "GlioserveStageHangs", "GlioserveQueueGrowing"), "it stands")
            hold.unlink()
            told = callers.told()
            assert {"rejected", "expired", "refused"} == set(told), told
            assert told["expired"] >= 4
            bad = [send(url, [b"not DICOM"]) for _ in range(40)]
            assert set(bad) == {"refused"}
            wait_until(
                lambda: (
                    all(count(end) == told[end] for end in ("rejected", "expired"))
                    and count("refused") == 1 + told["refused"] + len(bad)
                ),
                "each is counted once",
            )
            wait_until(lambda: rings("GlioserveRejects", "GlioserveAvailabilityBurnFast"), "the objectives")
            wait_until(lambda: "GlioserveManyRefused" in prometheus.alerts("pending|firing", "30m"), "bad input")
            expected = {
                "GlioserveStageReplaced", "GlioserveStalled", "GlioserveStageHangs", "GlioserveQueueGrowing",
                "GlioserveRejects", "GlioserveAvailabilityBurnFast", "GlioserveAvailabilityBurnSlow",
                "GlioserveAvailabilityBurnCreeping", "GlioserveManyRefused",
            }  # fmt: skip
            assert prometheus.alerts("firing", "30m") <= expected | EMBEDDED
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0


def pending(prometheus):
    samples = prometheus.ask('sum(nv_inference_pending_request_count{model="preprocess"})')
    return float(samples[0]["value"][1]) if samples else 0.0
