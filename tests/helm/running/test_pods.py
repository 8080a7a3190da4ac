"""The rendered pod as processes: gateway, server and callers, as the kubelet's probes and a Service see them."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from glioserve_client import DicomStudy, GliomaClient
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import write_study
from glioserve_registry.demo_model import demo_repository
from support.cluster.helm_tools import CLAIM, Helm, Manifest, component, find, merged, nested, pod_spec
from support.cluster.pods import USER, Pod, Service, missing_rights, running
from support.network.gateways import Caller
from support.network.pki import SERVER, Authority
from support.server.tiny_repository import hold, write_tiny_repository
from support.server.triton import wait_until

pytestmark = [pytest.mark.helm, pytest.mark.triton, pytest.mark.long]

KEY = "k" * 40
VALUES: dict[str, Any] = merged(
    CLAIM,
    {
        "profile": "onnxruntime-cpu",
        "gpu": {"enabled": False},
        "gateway": {"mode": "sidecar", "apiKeys": {"existingSecret": "callers"}},
        # The development server's holes, in a network that has a loopback alone.
        "extraArgs": ["--allow-network-with-known-cves"],
        "shutdown": {"preStopSeconds": 1},
    },
)


@pytest.fixture
def callers(tmp_path: Path) -> Path:
    if reason := missing_rights():
        pytest.skip(reason)
    folder = tmp_path / "callers"
    folder.mkdir()
    (folder / "api-keys").write_text(f"viewer:{KEY}\n")
    return folder


def pending(pod: Pod) -> float:
    """Studies that wait or are worked on in the first step."""
    _, page = pod.get(8003, "/metrics")
    return sum(map(float, re.findall(r'^nv_inference_pending_request_count{model="preprocess".*} (\S+)$', page, re.M)))


def is_stage(model: str) -> Any:
    """Return whether a command line is that of a Python model's process."""
    script = f"/models/{model}/1/model.py".encode()
    return lambda words: words[0].endswith(b"triton_python_backend_stub") and script in words


def test_a_pod_from_its_start_through_a_dead_stage_to_its_drain(helm4: Helm, callers: Path, tmp_path: Path) -> None:
    manifests, repository = helm4.template(VALUES), write_tiny_repository(tmp_path / "models")
    outside = {"PersistentVolumeClaim/glioma-models": repository, "Secret/callers": callers}
    with Pod(pod_spec(manifests), manifests, outside, tmp_path / "pod") as pod:
        assert not pod.probe("glioserve", "startupProbe")  # its gateway is there, its server only begins
        assert pod.probe("gateway", "readinessProbe")
        assert not pod.ready
        pod.wait_ready()
        assert pod.probe("glioserve", "startupProbe")
        assert_restricted(pod)
        with Service(lambda: [pod], 8001) as service, Caller(service.url, KEY) as caller:
            wait_until(caller.healthy, "the gateway to have found its server")  # it asks once a second
            assert caller.infer().status == "OK"
            with Caller(service.url, "w" * 40) as stranger:
                assert stranger.infer().code == "GLIO-4109"

            (stage,) = pod.containers["glioserve"].processes(is_stage("preprocess"))
            os.kill(stage, signal.SIGKILL)
            wait_until(lambda: not pod.ready, "the endpoint taken out")
            assert pod.probe("glioserve", "livenessProbe")  # it repairs, and the kubelet must not interfere
            wait_until(lambda: pod.ready and caller.healthy(), "the endpoint back")
            assert caller.infer().status == "OK"

            with ThreadPoolExecutor(4) as pool:
                with hold(repository):
                    studies = [pool.submit(caller.infer) for _ in range(3)]
                    wait_until(lambda: pending(pod) >= 3, "three studies under way")
                    codes = pool.submit(pod.terminate)
                    wait_until(lambda: not pod.ready, "the endpoint taken out")
                    assert pod.probe("glioserve", "livenessProbe")  # or the kubelet would kill it, studies and all
                    assert pod.probe("gateway", "livenessProbe")  # through which the answers have to pass
                assert [study.result(60).status for study in studies] == ["OK"] * 3
                assert codes.result(60) == {"glioserve": 0, "gateway": 0}


APART: dict[str, Any] = merged(
    VALUES,
    {
        "gateway": {
            "mode": "deployment",
            "options": {
                "timeouts": {"study_s": 10, "upload_s": 1},
                "rate": {"studies_per_minute": 100_000, "burst": 100_000},
            },
        },
        "tls": {"enabled": True, "existingSecret": "cert"},
    },
)
SERVERS = "rel-glioserve-servers.mri.svc"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The Secret of ``tls``, for the names of both services."""
    folder = tmp_path / "cert"
    folder.mkdir()
    pki = Authority(tmp_path, "ca")
    issued = pki.issue("server", hosts=[SERVERS, "rel-glioserve.mri.svc"], usage=SERVER)
    for source, name in ((issued, "tls.crt"), (issued.with_suffix(".key"), "tls.key"), (pki.file, "ca.crt")):
        (folder / name).write_bytes(source.read_bytes())
    return folder


def answered(pod: Pod) -> float:
    """Studies that a server has answered."""
    _, page = pod.get(8003, "/metrics")
    return sum(map(float, re.findall(r'^nv_inference_request_success{model="glioma".*} (\S+)$', page, re.M)))


def test_a_gateway_in_a_pod_of_its_own_leads_to_servers_in_theirs(
    helm4: Helm, callers: Path, certificate: Path, tmp_path: Path
) -> None:
    manifests, repository = helm4.template(APART), write_tiny_repository(tmp_path / "models")
    outside = {
        "PersistentVolumeClaim/glioma-models": repository, "Secret/callers": callers, "Secret/cert": certificate,
    }  # fmt: skip
    apart = component(manifests, "Deployment", "gateway")["spec"]["template"]["spec"]
    trusted = grpc.ssl_channel_credentials((certificate / "ca.crt").read_bytes())
    name = "rel-glioserve.mri.svc"
    with (
        Pod(pod_spec(manifests), manifests, outside, tmp_path / "one") as one,
        Pod(pod_spec(manifests), manifests, outside, tmp_path / "two") as two,
        Pod(apart, manifests, outside, tmp_path / "gateway", services={SERVERS: [one, two]}) as gateway,
    ):
        for pod in (one, two, gateway):
            pod.wait_ready()
        assert_restricted(gateway)
        with Service(lambda: [gateway], 8001) as service, Caller(service.url, KEY, trusted, name) as caller:
            wait_until(caller.healthy, "the gateway to have found a server")
            with Caller(service.url, "w" * 40, trusted, name) as stranger:
                assert stranger.infer().code == "GLIO-4109"

            def both_asked() -> bool:
                assert caller.infer().status == "OK"
                return min(answered(one), answered(two)) > 0

            wait_until(both_asked, "studies at both servers, over TLS")
            with ThreadPoolExecutor(2) as pool:
                leaving = pool.submit(one.terminate)
                while not leaving.done():
                    assert caller.infer().status == "OK"
                    time.sleep(0.1)
                assert leaving.result() == {"glioserve": 0}
                with hold(repository):
                    study = pool.submit(caller.infer)
                    wait_until(lambda: pending(two) >= 1, "a study under way")
                    codes = pool.submit(gateway.terminate)
                    assert gateway.probe("gateway", "livenessProbe")  # it waits for the study
                assert study.result(60).status == "OK"
                assert codes.result(120) == {"gateway": 0}


def assert_restricted(pod: Pod) -> None:
    """Every process of the pod has the user, the root and the rights that were rendered."""
    for container in pod.containers.values():
        if container.code is not None:
            continue
        process = Path(f"/proc/{container.first_process}")
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) == {str(USER)}, container.name
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, container.name
        assert status["NoNewPrivs"] == "1", container.name
        (root,) = (line.split()[3] for line in (process / "mounts").read_text().splitlines() if line.split()[1] == "/")
        assert "ro" in root.split(","), container.name


@pytest.fixture
def study(tmp_path: Path) -> DicomStudy:
    write_study(make_phantom(7, "recurrence"), tmp_path / "study")
    return DicomStudy.from_directory(tmp_path / "study")


@pytest.fixture
def release(helm4: Helm) -> list[Manifest]:
    return helm4.template(VALUES)


@pytest.mark.slow
def test_two_pods_are_replaced_under_load_and_no_study_is_lost(
    helm4: Helm, release: list[Manifest], callers: Path, study: DicomStudy, tmp_path: Path
) -> None:
    outside = {"PersistentVolumeClaim/glioma-models": demo_repository(tmp_path / "demo"), "Secret/callers": callers}
    spec = pod_spec(release)
    pods: list[Pod] = []
    scores: list[float] = []
    done = threading.Event()

    def start(name: str) -> Pod:
        pod = Pod(spec, release, outside, tmp_path / name)
        pods.append(pod.__enter__())
        pod.wait_ready()
        return pod

    def ask(url: str) -> None:
        with GliomaClient(url, headers={"authorization": f"Bearer {KEY}"}) as client:
            while not done.is_set():
                scores.append(client.predict(study, heatmap=False).score)

    with Service(lambda: pods, 8001) as service:
        try:
            old = [start("first"), start("second")]
            with ThreadPoolExecutor(2) as pool:
                callers_under_way = [pool.submit(ask, service.url) for _ in range(2)]
                try:
                    for number, pod in enumerate(old):  # maxSurge 0: a new one when the old one has gone
                        before = len(scores)
                        wait_until(lambda before=before: len(scores) > before, "an answer")
                        assert pod.terminate() == {"glioserve": 0, "gateway": 0}
                        pods.remove(pod)
                        pod.remove()
                        start(f"new-{number}")
                    before = len(scores)
                    wait_until(lambda: len(scores) > before, "an answer by the new pods")
                finally:
                    done.set()
                for each in callers_under_way:
                    each.result(120)  # no error reached a caller
        finally:
            for pod in pods:
                pod.remove()
    assert max(scores) - min(scores) < 1e-4


@pytest.mark.slow
def test_the_charts_own_test_asks_through_the_gateway(
    helm4: Helm, release: list[Manifest], callers: Path, tmp_path: Path
) -> None:
    outside = {"PersistentVolumeClaim/glioma-models": demo_repository(tmp_path / "demo"), "Secret/callers": callers}
    with running(pod_spec(release), release, outside, tmp_path / "pod") as pod:
        for name, token in (("right", KEY), ("wrong", "w" * 40)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "token").write_text(token)
            asking = helm4.template(merged(VALUES, nested("test.tokenSecret", name)))
            test = pod.ask(find(asking, "Pod")["spec"], {f"Secret/{name}": tmp_path / name}, asking)
            if name == "right":
                assert test.code == 0, test.log
                assert test.log.startswith("score 0.")
            else:
                assert test.code == 1
                assert "GLIO-4109" in test.log
        started = time.monotonic()
        assert pod.terminate() == {"glioserve": 0, "gateway": 0}
        assert time.monotonic() - started < pod.spec["terminationGracePeriodSeconds"]
