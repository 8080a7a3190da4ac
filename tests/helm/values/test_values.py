"""Values of the chart: what they do, what they refuse and in which words; schema, comments and README agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from glioserve_contract.records.brain_model import BRAIN_MODELS_VARIABLE
from glioserve_triton.admin import CALL_TIMEOUT_S
from glioserve_triton.process.guarded import KILL_TIMEOUT_S
from glioserve_triton.process.server import EXIT_MARGIN_S
from support.cluster.helm_tools import (
    CHART,
    CI_VALUES,
    CLAIM,
    SCHEMA,
    VALUES_TEXT,
    Helm,
    HelmError,
    Manifest,
    documented_values,
    find,
    merged,
    nested,
    pod_spec,
    server,
    updating,
    values_table,
)

DEFAULTS: dict[str, Any] = yaml.safe_load(VALUES_TEXT)
CPU = {"profile": "onnxruntime-cpu", "gpu": {"enabled": False}}
TABLE = re.compile(r"(?<=<!-- values -->\n).*(?=\n<!-- /values -->)", re.DOTALL)

uses_helm = pytest.mark.helm


# --- One list of values in three places ---


def test_the_readme_lists_every_value() -> None:
    readme = CHART / "README.md"
    table = values_table(documented_values(VALUES_TEXT))
    if updating():
        readme.write_text(TABLE.sub(lambda _: table, readme.read_text()))
    found = TABLE.search(readme.read_text())
    assert found is not None
    assert found[0] == table


def test_a_value_without_a_comment_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"image\.tag"):
        documented_values(VALUES_TEXT.replace("  # Tag; empty for the chart's appVersion\n", ""))


def test_schema_and_values_have_the_same_keys() -> None:
    values = {value.path for value in documented_values(VALUES_TEXT)}
    optional = {"resources.requests.ephemeral-storage", "resources.limits.ephemeral-storage", "resources.limits.cpu"}
    assert set(_schema_paths(SCHEMA)) - optional == values


def _schema_paths(schema: Manifest, at: tuple[str, ...] = ()) -> list[str]:
    """Paths of the values a schema describes; below a value that has a comment of its own nothing is counted."""
    whole = {value.path for value in documented_values(VALUES_TEXT)}
    paths = []
    for key, child in schema["properties"].items():
        path = (*at, key)
        if child.get("$ref") == "#/definitions/elsewhere":
            continue
        child = SCHEMA["definitions"][child["$ref"].rpartition("/")[2]] if "$ref" in child else child
        if "properties" in child and ".".join(path) not in whole:
            paths += _schema_paths(child, path)
        else:
            paths.append(".".join(path))
    return paths


def test_the_schema_is_draft_07_and_closed_throughout() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].startswith("http://json-schema.org/draft-07/")
    assert list(_open_objects({k: v for k, v in SCHEMA["properties"].items() if k != "global"})) == []
    assert SCHEMA["additionalProperties"] is False


def _open_objects(node: Any, at: str = "") -> Any:
    if isinstance(node, dict):
        if "properties" in node and node.get("type") == "object" and node.get("additionalProperties") is not False:
            yield at
        for key, child in node.items():
            yield from _open_objects(child, f"{at}/{key}")


# --- Refusals, each with the real helm ---

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("unknown key", {"replica": 2}, "replica"),
    ("unknown nested key", nested("image.name", "x"), "name"),
    ("a value in the wrong place", nested("gpu.nodeSelector", {}), "use nodeSelector or gpu.products"),
    ("wrong type", {"replicaCount": "2"}, "replicaCount"),
    ("number as tag", nested("image.tag", 1.0), "tag"),
    ("unknown profile", {"profile": "openvino-gpu"}, "profile"),
    ("a GPU for a CPU profile", {"profile": "openvino-cpu-bf16"}, "gpu.enabled must be false"),
    ("no GPU for a GPU profile", nested("gpu.enabled", False), "gpu.enabled must be true"),
    ("half a GPU", nested("gpu.count", 0.5), "count"),
    ("no GPU at all", nested("gpu.count", 0), "count"),
    ("a GPU among the resources", nested("resources.limits", {"nvidia.com/gpu": 1}), "nvidia.com/gpu"),
    ("products without a GPU", merged(CPU, nested("gpu.products", ["NVIDIA-A30"])), "products"),
    ("bad memory", {"sharedMemorySize": "2 GB"}, "sharedMemorySize"),
    ("milli-bytes", nested("resources.limits.memory", "12000m"), "memory"),
    ("bad CPU", nested("resources.requests.cpu", "4 cores"), "cpu"),
    ("bad digest", nested("image.digest", "latest"), "digest"),
    ("bad pull policy", nested("image.pullPolicy", "always"), "pullPolicy"),
    ("bad claim name", nested("persistence.existingClaim", "Models"), "existingClaim"),
    ("a path that leaves the claim", nested("persistence.subPath", "../other"), "subPath"),
    ("a folder of no claim", nested("brainModels.subPath", "brain"), "brainModels.existingClaim"),
    ("a brain model's path that leaves the claim", nested("brainModels.subPath", "/etc"), "subPath"),
    ("a study log without a claim", nested("studyLog.enabled", True), "needs studyLog.existingClaim"),
    (
        "a study log on a claim and in the pod",
        {"studyLog": {"enabled": True, "existingClaim": "c", "ephemeral": True}},
        "exclude each other",
    ),
    ("a claim for a study log that is off", nested("studyLog.existingClaim", "c"), "without studyLog.enabled"),
    (
        "a study log in the models' folder",
        {"studyLog": {"enabled": True, "existingClaim": CLAIM["persistence"]["existingClaim"]}},
        "set studyLog.subPath",
    ),
    (
        "a study log of less than six months",
        {"studyLog": {"enabled": True, "existingClaim": "c", "keepDays": 182}},
        r"studyLog.keepDays \(182\) must be 183 days",
    ),
    ("inputs without a study log", nested("studyLog.keepInputs.enabled", True), "without studyLog.enabled"),
    ("a study log by an argument", {"extraArgs": ["--study-log=/tmp/log"]}, "use studyLog"),
    ("an argument of another program", {"extraArgs": ["--model-control=explicit"]}, "does not know"),
    ("an argument that may be one of two", {"extraArgs": ["--tri=--id=1"]}, "does not know"),
    (
        "a word that is no argument",
        {"extraArgs": ["--allow-network-with-known-cves", "true"]},
        '"true", which `glioserve serve` does not',
    ),
    ("a flag as a word of its own", {"extraArgs": ["--triton-flag", "--id=1"]}, "as one word"),
    ("an argument without its value", {"extraArgs": ["--log-verbosity"]}, "ends with an option that needs a value"),
    ("no sleep", nested("shutdown.preStopSeconds", 0), "preStopSeconds"),
    ("a wait that the supervisor refuses", nested("shutdown.drainTimeoutSeconds", 90000), "drainTimeoutSeconds"),
    ("bad duration", nested("metrics.serviceMonitor.interval", "15 s"), "interval"),
    ("bad port", nested("service.grpcPort", 70000), "grpcPort"),
    ("bad update strategy", nested("updateStrategy.type", "OnDelete"), "updateStrategy"),
    ("an existing Secret that is not used", nested("adminToken.existingSecret", "x"), "existingSecret"),
    ("a peer that is none", nested("networkPolicy.clients", [{"namespace": "x"}]), "networkPolicy/clients"),
    ("a number as environment", nested("extraEnv", [{"name": "A", "value": 1}]), "extraEnv"),
    # Relations that no schema can say: the templates refuse these, in words of their own.
    ("no claim", nested("persistence.existingClaim", ""), "persistence.existingClaim"),
    (
        "shm equal to the limit",
        merged(nested("sharedMemorySize", "12Gi")),
        r"sharedMemorySize \(12Gi\) must be below resources.limits.memory \(12Gi\)",
    ),
    (
        "shm above the limit in another unit",
        merged(nested("sharedMemorySize", "13000M"), nested("resources.limits.memory", "12Gi")),
        "sharedMemorySize",
    ),
    ("more requested than the limit", nested("resources.requests.memory", "13Gi"), "must not exceed resources.limits"),
    ("no time for a rollout", nested("progressDeadlineSeconds", 850), r"190 \+ 660 = 850"),
    ("no way to replace a pod", nested("updateStrategy.rollingUpdate.maxUnavailable", "0%"), "must not both be 0"),
    ("a share above 1", nested("tracing.ratio", 1.5), "ratio"),
    ("a rate in the place of a share", nested("tracing.rate", 10), "use tracing.ratio"),
    ("traces to nowhere", nested("tracing.enabled", True), "needs tracing.endpoint"),
    ("a collector's key that is not used", nested("tracing.headers.existingSecret", "x"), "tracing.enabled to true"),
    ("a caller that stands for the others", nested("metrics.callers", ["other"]), "callers"),
    ("a caller that is not a label", nested("metrics.callers", ["ward 3"]), "callers"),
    ("traces by an argument", {"extraArgs": ["--otlp-endpoint=http://c:4318"]}, "use tracing.endpoint"),
    ("callers by an argument", {"extraArgs": ["--callers=a"]}, "use metrics.callers"),
    ("scrape longer than its interval", nested("metrics.serviceMonitor.scrapeTimeout", "1m"), "must not exceed its"),
]


@uses_helm
@pytest.mark.parametrize(("values", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_wrong_values_are_refused_by_name(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said):
        helm.template(merged(CLAIM, values))


@uses_helm
def test_the_defaults_need_a_claim_and_nothing_else(helm: Helm) -> None:
    with pytest.raises(HelmError, match="glioserve export"):
        helm.template({})
    assert helm.template(CLAIM)


@uses_helm
def test_just_below_the_limits_is_accepted(helm4: Helm) -> None:
    values = {"sharedMemorySize": "9728Mi", "progressDeadlineSeconds": 851}
    assert helm4.template(merged(CLAIM, values))


# --- What they do ---


@uses_helm
@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_grace_period_is_the_sum_of_a_stop(helm4: Helm, values: Path) -> None:
    rendered = helm4.template(values)
    stop = merged(DEFAULTS, yaml.safe_load(values.read_text()))["shutdown"]
    pod, container = pod_spec(rendered), server(rendered)
    assert pod["terminationGracePeriodSeconds"] == sum(stop.values())
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == stop["preStopSeconds"]
    assert f"--drain-timeout-s={stop['drainTimeoutSeconds']}" in container["args"]
    assert f"--exit-timeout-s={stop['exitTimeoutSeconds']}" in container["args"]
    assert stop["marginSeconds"] > CALL_TIMEOUT_S + EXIT_MARGIN_S + KILL_TIMEOUT_S


@uses_helm
@pytest.mark.parametrize("timeout_s", [1, 599, 600, 601])
@pytest.mark.parametrize(("profile", "starts"), [("onnxruntime-gpu", 1), ("tensorrt-gpu", 2)])
def test_the_startup_probe_outlasts_the_supervisors_own_patience(
    helm4: Helm, timeout_s: int, profile: str, starts: int
) -> None:
    values = {"profile": profile, "startup": {"timeoutSeconds": timeout_s, "marginSeconds": 45}}
    container = server(helm4.template(merged(CLAIM, values)))
    probe = container["startupProbe"]
    budget_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert f"--ready-timeout-s={timeout_s}" in container["args"]
    assert starts * timeout_s + 45 <= budget_s < starts * timeout_s + 50


@uses_helm
def test_probes_ask_the_supervisor(helm4: Helm) -> None:
    container = server(helm4.template(CLAIM))
    asked = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {get["port"] for get in asked.values()} == {"probes"}
    assert [get["path"] for get in asked.values()] == ["/startupz", "/readyz", "/livez"]


@uses_helm
@pytest.mark.parametrize(
    ("cpu", "threads"),
    [("500m", 1), ("1500m", 1), ("2", 1), (4, 2), ("5", 2), ("5.9", 2), ("7900m", 3), (8, 4), (0.5, 1)],
)
def test_threads_share_the_requested_cpus(helm4: Helm, cpu: object, threads: int) -> None:
    container = server(helm4.template(merged(CLAIM, nested("resources.requests.cpu", cpu))))
    environment = {v["name"]: v["value"] for v in container["env"]}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    assert [environment[name] for name in names] == [str(threads)] * 3


MAY_BE_NULL = {
    "global.imageRegistry",
    "global.imagePullSecrets",
    "replicaCount",  # an outside autoscaler's
    "keda.idleReplicas",
    "podSecurityContext.runAsUser",  # OpenShift chooses these
    "podSecurityContext.runAsGroup",
    "podSecurityContext.fsGroup",
    "podSecurityContext.fsGroupChangePolicy",
    "autoscaling.behavior.scaleUp.stabilizationWindowSeconds",  # Kubernetes has defaults of its own
    "autoscaling.behavior.scaleUp.policies",
    "autoscaling.behavior.scaleDown.stabilizationWindowSeconds",
    "autoscaling.behavior.scaleDown.policies",
    "metrics.dashboards.labels.grafana_dashboard",
}
OTHERWISE_REFUSED = {
    "enabled": "enabled must not be null",
    "updateStrategy.rollingUpdate.maxSurge": "updateStrategy.rollingUpdate needs maxSurge",
    "updateStrategy.rollingUpdate.maxUnavailable": "updateStrategy.rollingUpdate needs maxSurge",
    "podDisruptionBudget.maxUnavailable": "podDisruptionBudget.maxUnavailable must not be null",
}


def leaves(node: dict[str, Any], at: str = "") -> set[str]:
    """Paths of everything in the values that is not a section."""
    found: set[str] = set()
    for key, value in node.items():
        found |= leaves(value, f"{at}{key}.") if isinstance(value, dict) and value else {f"{at}{key}"}
    return found


def refused_as_null() -> list[str]:
    """The paths that the templates refuse to be null, one by one, or by a section around them."""
    text = (CHART / "templates" / "_check.tpl").read_text()
    return text.split('define "glioserve.needed" -}}')[1].split("{{- end")[0].split()


def test_every_value_may_be_null_or_is_refused_as_null() -> None:
    needed = refused_as_null()
    assert len(needed) == len(set(needed))
    held = {leaf for leaf in leaves(DEFAULTS) if any(f"{leaf}.".startswith(f"{path}.") for path in needed)}
    assert leaves(DEFAULTS) - held - OTHERWISE_REFUSED.keys() - MAY_BE_NULL == set()


SECTIONS = sorted(key for key, value in DEFAULTS.items() if isinstance(value, dict) and value and key != "global")


@uses_helm
@pytest.mark.parametrize("path", [*SECTIONS[::4], *refused_as_null()[::24], *OTHERWISE_REFUSED])
def test_null_is_refused_by_name(helm4: Helm, path: str) -> None:
    said = OTHERWISE_REFUSED.get(path, rf"{re.escape(path)}\S* (must not be null|needs maxSurge)")
    with pytest.raises(HelmError, match=said):
        helm4.template(merged(CLAIM, nested(path, None)))


@uses_helm
def test_the_nulls_that_are_taken_change_nothing_for_the_worse(helm4: Helm) -> None:
    nulls = merged(*(nested(path, None) for path in sorted(MAY_BE_NULL)))
    rendered = helm4.template(merged(CLAIM, nested("autoscaling.enabled", True), nulls))
    pod, container = pod_spec(rendered), server(rendered)
    assert not any(argument.endswith("=") for argument in container["args"])
    assert pod["terminationGracePeriodSeconds"] >= 190
    assert container["securityContext"] == DEFAULTS["containerSecurityContext"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert "null" not in json.dumps(rendered)


@uses_helm
def test_brain_models_of_ones_own_are_mounted_where_the_server_looks(helm4: Helm) -> None:
    plain = server(helm4.template(CLAIM))
    assert BRAIN_MODELS_VARIABLE not in {v["name"] for v in plain["env"]}
    assert "brain-models" not in {m["name"] for m in plain["volumeMounts"]}
    rendered = helm4.template(merged(CLAIM, {"brainModels": {"existingClaim": "strippers", "subPath": "v1"}}))
    (volume,) = (v for v in pod_spec(rendered)["volumes"] if v["name"] == "brain-models")
    assert volume["persistentVolumeClaim"] == {"claimName": "strippers", "readOnly": True}
    (mount,) = (m for m in server(rendered)["volumeMounts"] if m["name"] == "brain-models")
    assert mount == {"name": "brain-models", "mountPath": "/brain-models", "readOnly": True, "subPath": "v1"}
    assert {"name": BRAIN_MODELS_VARIABLE, "value": mount["mountPath"]} in server(rendered)["env"]


@uses_helm
def test_a_study_log_is_mounted_where_the_server_writes_it(helm4: Helm) -> None:
    plain = server(helm4.template(CLAIM))
    assert not any("study-log" in argument for argument in plain["args"])
    on_claim = {"studyLog": {"enabled": True, "existingClaim": "log", "subPath": "mri", "keepDays": 200}}
    for values, source in (
        (on_claim, {"persistentVolumeClaim": {"claimName": "log"}}),
        ({"studyLog": {"enabled": True, "ephemeral": True}}, {"emptyDir": {"sizeLimit": "2Gi"}}),
    ):
        rendered = helm4.template(merged(CLAIM, values))
        (volume,) = (v for v in pod_spec(rendered)["volumes"] if v["name"] == "study-log")
        assert volume == {"name": "study-log", **source}
        (mount,) = (m for m in server(rendered)["volumeMounts"] if m["name"] == "study-log")
        given = values["studyLog"]
        sub_path = {"subPath": given["subPath"]} if "subPath" in given else {}
        assert mount == {"name": "study-log", "mountPath": "/study-log", **sub_path}
        arguments = [a for a in server(rendered)["args"] if "study-log" in a]
        days = given.get("keepDays", 0)
        assert arguments == ["--study-log=/study-log", "--study-log-shared", f"--study-log-keep-days={days}"]
        with_inputs = merged(CLAIM, values, {"studyLog": {"keepInputs": {"enabled": True, "sizeGiB": 0.5}}})
        assert {"--keep-inputs", "--keep-inputs-gib=0.5"} <= set(server(helm4.template(with_inputs))["args"])
        assert not any("keep-inputs" in argument for argument in server(rendered)["args"])
        assert server(rendered)["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod_spec(rendered)["securityContext"]["fsGroup"] == 1000


@uses_helm
def test_an_environment_variable_of_ones_own_replaces_the_charts(helm4: Helm) -> None:
    container = server(helm4.template(merged(CLAIM, {"extraEnv": [{"name": "OMP_NUM_THREADS", "value": "7"}]})))
    assert [v["value"] for v in container["env"] if v["name"] == "OMP_NUM_THREADS"] == ["7"]


@uses_helm
def test_a_gpu_pod_gets_its_gpu_and_a_cpu_pod_none(helm4: Helm) -> None:
    gpu = helm4.template(merged(CLAIM, nested("gpu", {"count": 2, "products": ["NVIDIA-L4"]})))
    assert server(gpu)["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert "NVIDIA_VISIBLE_DEVICES" not in {v["name"] for v in server(gpu)["env"]}  # the device plugin's to set
    assert pod_spec(gpu)["tolerations"] == DEFAULTS["gpu"]["tolerations"]
    (term,) = pod_spec(gpu)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-L4"]}]
    cpu = helm4.template(merged(CLAIM, CPU))
    assert server(cpu)["resources"]["limits"].keys() == {"memory"}
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in server(cpu)["env"]
    assert "tolerations" not in pod_spec(cpu)


@uses_helm
@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "glioserve:0.1.0"),
        ({"tag": "1.2.3"}, "glioserve:1.2.3"),
        ({"registry": "r.example.org:5000/a"}, "r.example.org:5000/a/glioserve:0.1.0"),
        ({"tag": "1.2.3", "digest": f"sha256:{'0' * 64}"}, f"glioserve@sha256:{'0' * 64}"),
    ],
)
def test_image_references(helm4: Helm, image: dict[str, str], reference: str) -> None:
    rendered = helm4.template(merged(CLAIM, {"image": image}))
    assert server(rendered)["image"] == reference
    assert find(rendered, "Pod")["spec"]["containers"][0]["image"] == reference


@uses_helm
@pytest.mark.parametrize(
    ("release", "override", "name"),
    [
        ("rel", {}, "rel-glioserve"),
        ("glioserve", {}, "glioserve"),
        ("my-glioserve", {}, "my-glioserve"),
        ("rel", {"nameOverride": "mri"}, "rel-mri"),
        ("rel", {"fullnameOverride": "x"}, "x"),
        ("a" * 53, {}, f"{'a' * 41}-b70b4c37"),
        ("rel", {"fullnameOverride": "b" * 63}, f"{'b' * 41}-94e419fa"),
    ],
)
def test_names_leave_room_for_their_suffixes(helm4: Helm, release: str, override: dict[str, str], name: str) -> None:
    rendered = helm4.template(merged(CLAIM, override), release=release)
    assert find(rendered, "Deployment")["metadata"]["name"] == name
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in rendered)


@uses_helm
def test_labels_of_ones_own_never_replace_those_the_selectors_need(helm4: Helm) -> None:
    mine = {"app.kubernetes.io/name": "mine", "team": "imaging"}
    rendered = helm4.template(merged(CLAIM, {"commonLabels": mine, "podLabels": {"team": "pods"}}))
    deployment = find(rendered, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["team"] == "pods"
    assert find(rendered, "PodDisruptionBudget")["metadata"]["labels"]["team"] == "imaging"


@uses_helm
def test_a_new_version_of_the_chart_alone_replaces_no_pod(helm4: Helm) -> None:
    template = find(helm4.template(CLAIM), "Deployment")["spec"]["template"]
    assert "helm.sh/chart" not in json.dumps(template)


@uses_helm
def test_recreate_is_possible(helm: Helm) -> None:
    values = nested("updateStrategy", {"type": "Recreate", "rollingUpdate": None})
    assert find(helm.template(merged(CLAIM, values)), "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


@uses_helm
def test_what_is_off_is_not_rendered(helm4: Helm) -> None:
    off = {
        "serviceAccount": {"create": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "service": {"headless": {"enabled": False}, "http": {"enabled": False}},
        "preflight": {"enabled": False},
    }
    rendered = helm4.template(merged(CLAIM, off))
    assert sorted(m["kind"] for m in rendered) == ["Deployment", "Pod", "Service", "Service"]
    assert [p["name"] for p in find(rendered, "Service", "rel-glioserve")["spec"]["ports"]] == ["grpc"]
    assert pod_spec(rendered)["serviceAccountName"] == "default"
    assert {port["name"] for port in server(rendered)["ports"]} == {"grpc", "probes"}


@uses_helm
def test_no_client_listed_means_none_but_the_releases_own_test(helm4: Helm) -> None:
    policy = find(
        helm4.template(merged(CLAIM, nested("networkPolicy", {"clients": [], "monitoring": []}))),
        "NetworkPolicy",
        "rel-glioserve",
    )
    test = find(helm4.template(CLAIM), "Pod")
    for rule in policy["spec"]["ingress"]:  # a rule without peers would admit everyone
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchLabels"].items() <= test["metadata"]["labels"].items()
    assert policy["spec"]["egress"] == []
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
