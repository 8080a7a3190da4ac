"""The pod's arithmetic: whatever the chart accepts, the code can keep, and what it refuses really does not add up."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glioserve_contract.limits import MAX_WAITING_STUDIES
from glioserve_registry.layout.static_models import static_repository
from glioserve_triton.admin import CALL_TIMEOUT_S
from glioserve_triton.gateway.options import Limits, Timeouts
from glioserve_triton.process import sizing
from glioserve_triton.process.guarded import KILL_TIMEOUT_S
from glioserve_triton.process.logs import Log
from glioserve_triton.process.server import EXIT_MARGIN_S
from glioserve_triton.process.sizing import MIB, Room, check_room, load_of
from support.cluster.helm_tools import CLAIM, ROOT, Helm, HelmError, Manifest, chart_constants, merged, pod_spec, server
from support.cluster.kube_stub import kube_stub

few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""Each example is a render of the real Helm's."""


def test_the_constants_of_the_sums_are_the_codes() -> None:
    constants = chart_constants()
    counts = {
        model: int(re.findall(r"count: (\d+)", (ROOT / "model_repository" / model / "config.pbtxt").read_text())[0])
        for model in ("preprocess", "report")
    }
    assert constants == {
        "callSeconds": CALL_TIMEOUT_S,
        "exitMarginSeconds": EXIT_MARGIN_S,
        "killSeconds": KILL_TIMEOUT_S,
        "preprocessInstances": counts["preprocess"],
        "stages": sum(counts.values()),
        "waitingStudies": MAX_WAITING_STUDIES,
        "restMiB": sizing.AT_REST_BYTES // MIB,
        "workMiB": sizing.STUDY_BYTES // MIB,
        "workCopies": sizing.STUDY_COPIES,
        "waitingCopies": sizing.WAITING_COPIES,
        "sharedMiB": sizing.SHARED_BYTES // MIB,
        "sharedCopies": sizing.SHARED_COPIES,
        "largeMiB": sizing.LARGE_REQUEST_BYTES // MIB,
        "studySeconds": Timeouts().study_s,
        "uploadSeconds": Timeouts().upload_s,
        "stageMiB": 768,
        "baseMiB": 1024,
        "studyMiB": 144,
    }
    assert constants["studyMiB"] * MIB >= 4 * 240 * 240 * 155 * 4
    assert constants["baseMiB"] * MIB >= sizing.AT_REST_BYTES
    assert constants["stageMiB"] * MIB >= sizing.STUDY_BYTES + 2 * sizing.STUDY_COPIES * sizing.SMALL_REQUEST_BYTES
    assert Limits().max_request_bytes >= sizing.LARGE_REQUEST_BYTES


def render(helm4: Helm, values: Mapping[str, Any]) -> list[Manifest] | str:
    """The release, or the words in which the chart refuses it."""
    try:
        return helm4.template(merged(CLAIM, values))
    except HelmError as error:
        return str(error)


def quantity(mebibytes: int) -> str:
    return f"{mebibytes}Mi"


@pytest.mark.helm
@few
@given(
    memory=st.integers(1024, 16 << 10),
    shared=st.integers(32, 6 << 10),
    stage=st.sampled_from([0, 0, 512, 768, 4096]),
)
def test_what_the_chart_accepts_the_server_accepts(helm4: Helm, memory: int, shared: int, stage: int) -> None:
    sizes = {
        "sharedMemorySize": quantity(shared),
        "resources": {side: {"memory": quantity(memory)} for side in ("requests", "limits")},
        "stages": {"memoryLimitMiB": stage},
    }
    c = chart_constants()
    least_shared = c["preprocessInstances"] * c["studyMiB"]
    least = shared + c["baseMiB"] + c["preprocessInstances"] * c["stageMiB"]
    fits = least_shared <= shared < memory and memory >= least and not 0 < stage < c["stageMiB"]
    rendered = render(helm4, sizes)
    if isinstance(rendered, str):
        assert not fits, rendered
        assert re.search(r"sharedMemorySize|resources\.limits\.memory|stages\.memoryLimitMiB", rendered)
        return
    assert fits
    container = server(rendered)
    check_room(static_repository(), Log(io.StringIO(), "text"), Room(memory * MIB, shared * MIB))
    (given_mib,) = (a.partition("=")[2] for a in container["args"] if a.startswith("--stage-memory-limit-mib="))
    assert int(given_mib) >= (stage or (memory - shared - c["baseMiB"]) // c["stages"])
    if not stage:  # what the stages may take beside the rest is not more than there is
        assert shared + c["baseMiB"] + c["stages"] * int(given_mib) <= memory


STOP = st.fixed_dictionaries(
    {
        "preStopSeconds": st.integers(1, 120),
        "drainTimeoutSeconds": st.integers(1, 900),
        "exitTimeoutSeconds": st.integers(1, 120),
        "marginSeconds": st.integers(1, 60),
    }
)


@pytest.mark.helm
@few
@given(
    stop=STOP,
    start_s=st.integers(1, 1800),
    margin_s=st.integers(1, 120),
    ready_s=st.integers(0, 60),
    deadline_s=st.integers(60, 4000),
    tensorrt=st.booleans(),
)
def test_the_grace_period_outlasts_the_codes_own_stop(
    helm4: Helm,
    stop: Mapping[str, int],
    start_s: int,
    margin_s: int,
    ready_s: int,
    deadline_s: int,
    tensorrt: bool,
) -> None:
    values: dict[str, Any] = {
        "profile": "tensorrt-gpu" if tensorrt else "onnxruntime-gpu",
        "shutdown": dict(stop),
        "startup": {"timeoutSeconds": start_s, "marginSeconds": margin_s},
        "minReadySeconds": ready_s,
        "progressDeadlineSeconds": deadline_s,
    }
    worst_stop_s = sum(stop.values()) - stop["marginSeconds"] + CALL_TIMEOUT_S + EXIT_MARGIN_S + KILL_TIMEOUT_S
    starts_s = start_s * (2 if tensorrt else 1) + margin_s
    rollout_s = sum(stop.values()) + starts_s + ready_s
    rendered = render(helm4, values)
    if isinstance(rendered, str):
        assert stop["marginSeconds"] <= CALL_TIMEOUT_S + EXIT_MARGIN_S + KILL_TIMEOUT_S or deadline_s <= rollout_s
        assert re.search(r"shutdown\.marginSeconds|progressDeadlineSeconds", rendered)
        return
    assert pod_spec(rendered)["terminationGracePeriodSeconds"] > worst_stop_s
    assert deadline_s > rollout_s
    probe = server(rendered)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= starts_s


@pytest.mark.helm
@few
@given(
    temporary=st.integers(0, 2048),
    fetched=st.one_of(st.none(), st.integers(64, 4096)),
    disk=st.one_of(st.none(), st.integers(64, 8192)),
)
def test_the_pods_volumes_fit_its_share_of_the_disk(
    helm4: Helm, temporary: int, fetched: int | None, disk: int | None
) -> None:
    values: dict[str, Any] = {"temporarySize": quantity(temporary), "networkPolicy": {"enabled": False}}
    if fetched is not None:
        source = {"url": "s3://b/p", "version": 1, "size": quantity(fetched)}
        values["persistence"] = {"existingClaim": "", "fetch": source}
    if disk is not None:
        values["resources"] = {"limits": {"ephemeral-storage": quantity(disk)}}
    fits = temporary >= 64 and (disk is None or temporary + (fetched or 0) <= disk)
    rendered = render(helm4, values)
    if isinstance(rendered, str):
        assert not fits, rendered
        assert re.search(r"temporarySize|ephemeral-storage", rendered)
        return
    assert fits
    empty = [volume["emptyDir"] for volume in pod_spec(rendered)["volumes"] if "emptyDir" in volume]
    on_disk = [int(volume["sizeLimit"].removesuffix("Mi")) for volume in empty if volume.get("medium") != "Memory"]
    assert disk is None or sum(on_disk) <= disk


@pytest.mark.helm
@pytest.mark.parametrize(("memory", "shared"), [(12288, 2048), (6900, 2048), (12288, 500), (4096, 400)])
def test_the_notes_warn_where_the_server_would(helm4: Helm, tmp_path: Any, memory: int, shared: int) -> None:
    sizes = {
        "sharedMemorySize": quantity(shared),
        "resources": {side: {"memory": quantity(memory)} for side in ("requests", "limits")},
    }
    with kube_stub(tmp_path / "kubeconfig"):
        notes = helm4.notes(merged(CLAIM, sizes), tmp_path / "kubeconfig")
    said = io.StringIO()
    check_room(static_repository(), Log(said, "text"), Room(memory * MIB, shared * MIB))
    load = load_of(static_repository())
    assert (" of memory are too little" in said.getvalue()) == ("- resources.limits.memory" in notes)
    assert (" of /dev/shm are too little" in said.getvalue()) == ("- sharedMemorySize" in notes)
    if "- resources.limits.memory" in notes:
        (told,) = re.findall(r"set (\d+)Mi or more, or", notes)
        assert load.memory_bytes(sizing.LARGE_REQUEST_BYTES) <= int(told) * MIB
