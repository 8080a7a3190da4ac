"""Checks of what Kubernetes' JSON schemas cannot see: names that must meet across objects, quantities, and hardening.

``problems(manifests)`` yields one line for each fault. Every check is proven by a seeded fault in
``tests/helm/test_manifest_checks.py``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

Manifest = dict[str, Any]

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_SCALE = {"m": 1e-3, None: 1.0} | {u: 1000.0**i for i, u in enumerate("kMGTPE", 1)}
_SCALE |= {f"{u}i": 1024.0**i for i, u in enumerate("KMGTPE", 1)}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
_RESTRICTED_VOLUMES |= {"secret", "image"}


def quantity(value: object) -> float | None:
    """A Kubernetes quantity as a number, None where it is none."""
    match = _QUANTITY.fullmatch(str(value))
    return float(match[1]) * _SCALE[match[2]] if match else None


def problems(manifests: Sequence[Manifest], *, outside: Collection[str] = ()) -> Iterator[str]:
    """Faults of a rendered release. ``outside``: ``Kind/name`` of what it may refer to and does not bring along."""
    known = {f"{m['kind']}/{m['metadata']['name']}" for m in manifests} | set(outside)
    yield from _names(manifests)
    pods = list(_pods(manifests))
    for here, _, spec in pods:
        yield from _pod(here, spec, known)
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            yield from _container(f"{here}.{container['name']}", container, spec)
    yield from _selectors(manifests, pods)


def _pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Mapping[str, str], Manifest]]:
    """Yield the place, the labels and the spec of every pod or pod template."""
    for manifest in manifests:
        here = f"{manifest['kind']}/{manifest['metadata']['name']}"
        template = manifest.get("spec", {}).get("template", {})
        if manifest["kind"] == "Pod":
            yield here, manifest["metadata"].get("labels", {}), manifest["spec"]
        elif "spec" in template:
            yield here, template.get("metadata", {}).get("labels", {}), template["spec"]


def _names(manifests: Sequence[Manifest]) -> Iterator[str]:
    seen = set()
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        here = f"{manifest['kind']}/{name}"
        pattern = _SERVICE_NAME if manifest["kind"] == "Service" else _DNS_LABEL
        if not pattern.fullmatch(name):
            yield f"{here}: bad name"
        if here in seen:
            yield f"{here}: twice"
        seen.add(here)
        for key, value in manifest["metadata"].get("labels", {}).items():
            if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
                yield f"{here}: label {key}={value!r}"


def _pod(here: str, spec: Manifest, known: Collection[str]) -> Iterator[str]:
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    if len(set(volumes)) < len(volumes):
        yield f"{here}: a volume twice"
    for volume in spec.get("volumes", []):
        (source,) = volume.keys() - {"name"}
        if source not in _RESTRICTED_VOLUMES:
            yield f"{here}: volume {volume['name']} is a {source}"
        for kind, key in (("ConfigMap", "name"), ("Secret", "secretName"), ("PersistentVolumeClaim", "claimName")):
            name = volume[source].get(key) if source.lower() == kind.lower() else None
            if name and f"{kind}/{name}" not in known:
                yield f"{here}: no {kind} {name}"
    account = spec.get("serviceAccountName", "default")
    if account != "default" and f"ServiceAccount/{account}" not in known:
        yield f"{here}: no ServiceAccount {account}"
    if spec.get("automountServiceAccountToken") is not False:
        yield f"{here}: mounts a service account's token"
    for flag in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(flag):
            yield f"{here}: {flag}"


def _container(here: str, container: Manifest, spec: Manifest) -> Iterator[str]:
    ports = {port.get("name") for port in container.get("ports", [])}
    for kind in _PROBES:
        port = container.get(kind, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{here}: {kind} asks the unknown port {port}"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    mounts = container.get("volumeMounts", [])
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"{here}: mounts the unknown volume {mount['name']}"
    if len({mount["mountPath"] for mount in mounts}) < len(mounts):
        yield f"{here}: two mounts at one path"
    names = [variable["name"] for variable in container.get("env", [])]
    if len(set(names)) < len(names):
        yield f"{here}: a variable twice"
    if not re.fullmatch(r"[^:@\s]+(:\d+/[^:@\s]+)?(@sha256:[a-f0-9]{64}|:[\w][\w.-]{0,127})", container["image"]):
        yield f"{here}: image {container['image']} has neither tag nor digest"
    yield from _sizes(here, container, spec)
    yield from _hardening(here, container, spec.get("securityContext", {}))
    stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if stop >= spec.get("terminationGracePeriodSeconds", 30):
        yield f"{here}: preStop takes the whole grace period"


def _sizes(here: str, container: Manifest, spec: Manifest) -> Iterator[str]:
    requests, limits = (container.get("resources", {}).get(side, {}) for side in ("requests", "limits"))
    for side in (requests, limits):
        for name, value in side.items():
            amount = quantity(value)
            if amount is None:
                yield f"{here}: {name}={value} is not a quantity"
            elif "/" in name and amount != int(amount):
                yield f"{here}: {name}={value} must be whole"
    for name in requests.keys() & limits.keys():
        wanted, most = quantity(requests[name]), quantity(limits[name])
        if wanted is not None and most is not None and wanted > most:
            yield f"{here}: requests more {name} than its limit"
    for name in ("cpu", "memory"):
        if name not in requests:
            yield f"{here}: requests no {name}"
    memory = quantity(limits.get("memory", "")) or 0
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    for volume in spec.get("volumes", []):
        source = volume.get("emptyDir", {})
        if volume["name"] in mounted and source.get("medium") == "Memory":
            size = quantity(source.get("sizeLimit", ""))
            if size is None or size >= memory:
                yield f"{here}: volume {volume['name']} may take all its memory"


def _hardening(here: str, container: Manifest, pod_context: Manifest) -> Iterator[str]:
    """Pod Security Standards, restricted; and a root file system that cannot be written."""
    context = pod_context | container.get("securityContext", {})
    wanted = {
        "runAsNonRoot": context.get("runAsNonRoot") is True and context.get("runAsUser", 1) != 0,
        "no privilege escalation": context.get("allowPrivilegeEscalation") is False,
        "no capabilities": context.get("capabilities", {}) == {"drop": ["ALL"]},
        "seccomp": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "not privileged": not context.get("privileged"),
        "read-only root": context.get("readOnlyRootFilesystem") is True,
    }
    for what, held in wanted.items():
        if not held:
            yield f"{here}: not restricted ({what})"


def _lasting(spec: Manifest) -> list[Manifest]:
    """The containers that run while the pod does: sidecars too."""
    return [*spec["containers"], *(c for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always")]


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return bool(selector.get("matchLabels")) and selector["matchLabels"].items() <= labels.items()


def _selectors(manifests: Sequence[Manifest], pods: Sequence[tuple[str, Mapping[str, str], Manifest]]) -> Iterator[str]:
    """Services, budgets and policies must mean the server's pods, all of them and none of the tests'."""
    own_labels = {where: labels for where, labels, _ in pods}
    services = []
    for manifest in manifests:
        here, spec = f"{manifest['kind']}/{manifest['metadata']['name']}", manifest.get("spec", {})
        if manifest["kind"] == "Service":
            services.append(manifest)
            selector = {"matchLabels": spec.get("selector")}
            ports = {port["targetPort"] for port in spec["ports"]}
        elif manifest["kind"] == "PodDisruptionBudget":
            selector, ports = spec["selector"], set()
        elif manifest["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]
            ports = {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]}
            hook = {"test": "Pod/", "preflight": "Job/"}.get(
                spec["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component", "")
            )
            if hook is not None:
                tests = [where for where, labels, _ in pods if _matches(spec["podSelector"], labels)]
                if len(tests) != 1 or not tests[0].startswith(hook):
                    yield f"{here}: selects {tests}"
                continue
        else:
            if "selector" in spec and "template" in spec and not _matches(spec["selector"], own_labels[here]):
                yield f"{here}: selector misses its own pods"
            continue
        chosen = [(where, pod) for where, labels, pod in pods if _matches(selector, labels)]
        if not chosen or any(where.startswith(("Pod/", "Job/")) for where, _ in chosen):
            yield f"{here}: selects {[where for where, _ in chosen]}"
        serving = [container for _, pod in chosen for container in _lasting(pod)]
        offered = {p[key] for c in serving for p in c.get("ports", []) for key in ("name", "containerPort") if key in p}
        for port in ports - offered:
            yield f"{here}: the pods have no port {port}"
    for monitor in (m for m in manifests if m["kind"] == "ServiceMonitor"):
        found = [s for s in services if _matches(monitor["spec"]["selector"], s["metadata"]["labels"])]
        wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
        if not found or not all(wanted <= {port["name"] for port in service["spec"]["ports"]} for service in found):
            yield f"ServiceMonitor/{monitor['metadata']['name']}: selects {[s['metadata']['name'] for s in found]}"
