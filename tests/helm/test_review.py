"""The review of the first cut of the chart: each value combination is tested, each finding has a test that holds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.cluster.value_combinations import REFUSED, WORKS

TESTS = Path(__file__).parents[1]
ROWS = """
gpu1 gpu4 gpu0 mig mig-me shared amd hami hugepages dra-claims dra-nogpu dra-podclaims products products-nodeaff
nodesel nodesel-bool tol gtol-null gtol-empty affinity spread spread-off claim-none image-volume s3-native
s3-args pvc-create hpa keda replicas-null hpa-extra pdb-pct pdb-min pdb-null pdb-0 ingress grpcroute httproute
tls tls-args np-off np-ingressns np-nobody pullsecret pullsecret-str global-reg prio sched env vols vols-dup
sidecar native-sidecar sa podann podann-dup depann comann res-cpu-lim res-cpu-only probes shm8 shm12 shm-tiny
shm-0 tmp-0 sm sm-ns pm pr dash openshift hostusers ro-off root recreate surge minready revhist np-nodeport
lb-src lb-etp lb-class ipfam dns hostalias prestop0 margin1 margin-null exit-null logformat-null nohttp-arg
httpport-arg ipv6 otel cpu openvino digit-name umbrella-x admin admin-ext kueue brain
""".split()
"""Identifiers of the review's table, in its order."""

FINDINGS: dict[str, tuple[str, ...]] = {
    # A dead, hung or sick part of the server was invisible.
    "H1": (
        "helm/running/test_probes.py::test_a_stage_that_dies_takes_the_pod_out_until_it_is_replaced",
        "triton_server/running/test_supervisor.py::test_a_study_lost_with_its_process_is_typed_and_counted",
    ),
    "H2": (
        "triton_server/running/test_supervisor.py::test_a_hanging_process_is_ended_and_replaced",
        "triton_server/setup/test_sizing.py::test_a_queue_without_bound_is_told",
        "integration/test_overload.py::test_a_full_queue_refuses_at_once_and_keeps_what_it_took",
    ),
    # Ready, and answering, before the reference case was.
    "H3": (
        "triton_server/serving/test_reference_case.py::test_serve_is_ready_when_the_case_is_answered",
        "triton_server/serving/test_reference_case.py::test_serve_refuses_to_go_on_when_the_answer_is_wrong",
    ),
    # TLS of the server's own.
    "H4": (
        "triton_server/serving/test_tls.py::test_mutual_tls_from_start_to_drain",
        "mtls",
    ),
    # NVIDIA's CDI hooks need a writable root.
    "H5": ("writable root", "helm/test_findings.py::test_a_writable_root_stays_restricted"),
    "M1": ("helm/values/test_umbrella.py::test_a_condition_turns_it_on_and_off",),
    "M2": ("helm/running/test_life_cycle.py::test_what_an_autoscaler_counted_stays_through_upgrade_and_rollback",),
    "M3": ("any volume", "s3"),
    "M4": ("helm/test_review.py::test_every_row_of_the_review_works_or_is_refused",),
    "M5": ("helm/test_monitoring.py::test_rules_are_rendered_for_this_release_and_parse",),
    "M6": ("lb plain", "helm/test_findings.py::test_no_example_publishes_without_encryption"),
    "M7": (
        "helm/values/test_values.py::test_every_value_may_be_null_or_is_refused_as_null",
        "helm/values/test_values.py::test_null_is_refused_by_name",
    ),
    "M8": ("margin1", "helm/values/test_sums.py::test_the_grace_period_outlasts_the_codes_own_stop"),
    "M9": (
        "helm/values/test_combinations.py::test_ipv6_listens_on_all_addresses",
        "triton_server/serving/test_tls.py::test_ipv6",
    ),
    "M10": ("nohttp-arg", "httpport-arg"),
    # The image was never built here; its parts are held to the chart, and docs/kubernetes.md says so.
    "M11": ("helm/test_image.py::test_its_default_arguments_are_the_charts",),
    "L1": ("helm/values/test_combinations.py::test_names_are_valid_whatever_the_release_is_called",),
    "L2": ("shm-tiny", "shm-0", "tmp-0", "pdb-0", "root"),
    "L3": ("tensorrt deadline", "helm/running/test_plans_on_site.py::test_a_rollout_waits_for_the_build"),
    "L4": ("helm/values/test_values.py::test_the_startup_probe_outlasts_the_supervisors_own_patience",),
    "L5": ("helm/test_findings.py::test_hook_and_test_pods_go_wherever_the_server_can",),
    "L6": ("recreate",),
    "L7": ("podann-dup", "vols-dup"),
    "L8": (
        "helm/test_findings.py::test_a_changed_secret_rolls_the_pods",
        "helm/test_findings.py::test_a_new_key_keeps_the_old_token",
    ),
    "L9": ("triton_server/running/test_serve.py::test_a_signal_before_the_imports_are_done_is_not_lost",),
    "L10": ("triton_server/running/test_lifecycle.py::test_a_dead_stub_cannot_hold_up_the_stop",),
    "L11": ("supply_chain/test_locks.py::test_it_is_installed_by_hash",),
}
"""Tests that hold each finding: ``file::test``, or the identifier of a row."""


def test_every_row_of_the_review_works_or_is_refused() -> None:
    assert len(ROWS) == len(set(ROWS)) == 103
    works, refused = [row[0] for row in WORKS], [row[0] for row in REFUSED]
    assert len({*works, *refused}) == len(works) + len(refused)
    assert set(ROWS) <= {*works, *refused}


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_has_its_test(finding: str) -> None:
    for held_by in FINDINGS[finding]:
        file, _, name = held_by.partition("::")
        if not name:
            assert held_by in {row[0] for row in (*WORKS, *REFUSED)}
        else:
            text = (TESTS / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), held_by


def test_no_finding_is_left_out() -> None:
    wanted = {"H": 5, "M": 11, "L": 11}
    assert set(FINDINGS) == {f"{kind}{number}" for kind, count in wanted.items() for number in range(1, count + 1)}
