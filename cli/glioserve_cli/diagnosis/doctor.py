"""``glioserve doctor``: what is installed, found, reachable and wrong, each with what to do; for a bug report.

Exit code 1 where something that is needed fails. What was never asked for (an extra, a server on a machine that
only calls one) is ``--``: absent, not wrong. No environment variable is printed, and the home folder is ``~``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_cli.diagnosis.brain import brain_models
from glioserve_cli.diagnosis.findings import Finding
from glioserve_contract import CONTRACT_VERSION, GlioserveError
from glioserve_contract.tensors import ENSEMBLE

if TYPE_CHECKING:
    from glioserve_triton.process.locate import Installation

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's POSIX shared memory
TRITON_TEMPORARY = Path("/tmp")  # noqa: S108 - where Triton's Python backend writes, whatever TMPDIR says
MIN_SHARED_MEMORY_BYTES = 1 << 30
"""A study's tensors pass through it between the server and its models; 64 MiB (docker's default) fails at once."""
MIN_TEMPORARY_BYTES = 64 << 20
STANDARD_PORTS = {"grpc": 8001, "http": 8000, "metrics": 8002}
CALL_TIMEOUT_S = 5.0
_HIDDEN_EXTRAS = {"bench", "dev"}
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)[^;]*(;.*extra\s*==\s*["'](?P<extra>[\w-]+)["'])?""")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--repository", type=Path, metavar="DIR", help="also check this model repository")
    parser.add_argument("--profile", help="that the repository is to be served under")
    parser.add_argument("--url", metavar="HOST:PORT", help="also check the running server at this gRPC address")
    parser.add_argument("--tritonserver", type=Path, metavar="PATH", help="the server binary to check")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Print the report. 1 where something needed fails."""
    findings = list(examine(args.repository, args.profile, args.url, args.tritonserver))
    failed = any(finding.state == "fail" for finding in findings)
    if args.json:
        print(json.dumps({"failed": failed, "findings": [dataclasses.asdict(f) for f in findings]}, indent=2))
    else:
        print(as_text(findings))
    return int(failed)


def examine(
    repository: Path | None = None, profile: str | None = None, url: str | None = None, tritonserver: Path | None = None
) -> Iterator[Finding]:
    """All findings; a server of one's own is needed where a repository or a binary is named."""
    yield from _machine()
    yield from _packages()
    yield _kernels()
    yield from brain_models()
    if sys.platform == "linux":
        yield from _server(tritonserver, repository, profile)
    if repository is not None:
        yield from _repository(repository, profile)
    if url is not None:
        yield from _reached(url)


def as_text(findings: list[Finding]) -> str:
    """Aligned lines under a heading for each area, and the count of what is wrong."""
    width = max(len(finding.name) for finding in findings)
    lines, area = [], ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            lines.append(area)
        lines.append(f"  {finding.state:<4}  {finding.name:<{width}}  {finding.found}")
        if finding.action:
            lines.append(f"  {'':<4}  {'':<{width}}  -> {finding.action}")
    count = {state: sum(f.state == state for f in findings) for state in ("fail", "warn")}
    return "\n".join([*lines, "", f"{count['fail']} failed, {count['warn']} warnings"])


def _machine() -> Iterator[Finding]:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libc = " ".join(platform.libc_ver())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = (
        f"{platform.system()} {platform.release()} {platform.machine()} {libc}, {cpus} CPUs, {_size(memory)} memory"
    )
    yield Finding("machine", "system", "ok", system)
    yield Finding("machine", "python", "ok", f"{platform.python_version()} at {_short(sys.executable)}")


def _packages() -> Iterator[Finding]:
    try:
        version, requirements = metadata.version("glioserve"), metadata.requires("glioserve") or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", "glioserve", "fail", "runs from a folder, not installed", "pip install glioserve")
        return
    yield Finding("packages", "glioserve", "ok", f"{version}, contract {CONTRACT_VERSION}")
    wanted: dict[str, list[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, requirements)):
        if match["name"] != "glioserve":
            wanted.setdefault(match["extra"] or "", []).append(match["name"])
    told: set[str] = set()
    for extra, names in wanted.items():
        if extra not in _HIDDEN_EXTRAS:
            yield _extra(extra, names, told)
            told.update(names)


def _kernels() -> Finding:
    """The compiled part of preprocessing, which a wheel of another machine lacks."""
    from glioserve_preprocess.kernel.library import KERNELS, load

    try:
        for name in KERNELS:
            load(name)
    except GlioserveError as error:
        return Finding("packages", "kernels", "fail", error.detail, "pip install --force-reinstall --no-deps glioserve")
    return Finding("packages", "kernels", "ok", ", ".join(KERNELS))


def _extra(extra: str, names: list[str], told: set[str]) -> Finding:
    """One extra's packages; the versions of those told before are not told again."""
    versions = {name: _version(name) for name in names}
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version and name not in told)
    lacking = ", ".join(name for name, version in versions.items() if not version)
    name, install = (f"[{extra}]", f"pip install 'glioserve[{extra}]'") if extra else ("base", "pip install glioserve")
    if not lacking:
        return Finding("packages", name, "ok", there or "installed")
    if extra and not any(versions.values()):
        return Finding("packages", name, "--", f"not installed ({install})")
    return Finding("packages", name, "warn" if extra else "fail", f"{there}; lacks {lacking}".lstrip("; "), install)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _server(tritonserver: Path | None, repository: Path | None, profile: str | None) -> Iterator[Finding]:
    """Where there is a tritonserver: whether it and its models could run here."""
    from glioserve_triton.process.locate import PYTHON, check_libraries, find_installation, python_library_folder

    needed = repository is not None or tritonserver is not None
    try:
        installation = find_installation(tritonserver)
    except GlioserveError as error:
        yield Finding("server", "tritonserver", "fail" if needed else "--", _short(error.detail), error.action)
        return
    yield Finding("server", "tritonserver", "ok", f"{installation.origin}: {_short(installation.binary)}")
    try:
        check_libraries(installation)
        own = python_library_folder()
        where = _short(own) if own else "the system's folders"
        yield Finding("server", "libraries", "ok", f"all found; Python stub for {PYTHON}, libpython in {where}")
    except GlioserveError as error:
        yield Finding("server", "libraries", "fail", error.detail, error.action)
    yield from _backends(installation, repository, profile)
    yield _shared_memory()
    yield _temporary_folder()
    yield from _ports()


def _backends(installation: Installation, repository: Path | None, profile: str | None) -> Iterator[Finding]:
    """The one that the repository's profile runs (the default's, where none is named) must be there."""
    from glioserve_triton.process.backend_folder import PYTHON_BASED
    from glioserve_triton.served.profile import profile_needs

    needed = ""
    with suppress(GlioserveError):  # what is wrong with the repository is a finding of its own
        needed = profile_needs(repository, profile).backend if repository else ""
    needed = needed or "onnxruntime"
    for backend, package in PYTHON_BASED.items():
        version = _version(package)
        if (installation.backends / backend).is_dir():
            yield Finding("server", backend, "ok", "the server's own backend")
        elif version:
            yield Finding("server", backend, "ok", f"our backend, on the Python package {package} {version}")
        else:
            found = f"our backend lacks the Python package {package}"
            yield Finding("server", backend, "fail" if backend == needed else "--", found, f"pip install {package}")


def _shared_memory() -> Finding:
    try:
        total, _, free = shutil.disk_usage(SHARED_MEMORY)
        writable = os.access(SHARED_MEMORY, os.W_OK | os.X_OK)
    except OSError as error:
        return Finding("server", str(SHARED_MEMORY), "fail", str(error.strerror), "mount a tmpfs on it")
    found = f"{_size(total)}, {_size(free)} free"
    ours = [region.stat().st_size for region in SHARED_MEMORY.glob("glioserve-run-*")]
    if ours:
        found += f"; {_size(sum(ours))} held by servers that run or were killed"
    if not writable:
        return Finding(
            "server", str(SHARED_MEMORY), "fail", f"{found}; not writable", "give this user write permission"
        )
    if free < MIN_SHARED_MEMORY_BYTES:
        action = "give 1 GiB or more: docker run --shm-size=2g, or a Kubernetes emptyDir with medium: Memory"
        return Finding("server", str(SHARED_MEMORY), "warn", found, action)
    return Finding("server", str(SHARED_MEMORY), "ok", found)


def _temporary_folder() -> Finding:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {_size(free)} free"
    if not os.access(TRITON_TEMPORARY, os.W_OK):
        return Finding(
            "server",
            "temporary folder",
            "fail",
            f"{TRITON_TEMPORARY} is not writable",
            "mount one: Triton's Python backend uses no other",
        )
    if _is_noexec(folder):
        action = "point TMPDIR to a folder on another file system: the Python stub is started from it"
        return Finding("server", "temporary folder", "fail", f"{found}; mounted noexec", action)
    if free < MIN_TEMPORARY_BYTES:
        return Finding("server", "temporary folder", "warn", found, "make room")
    return Finding("server", "temporary folder", "ok", found)


def _is_noexec(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


def _ports() -> Iterator[Finding]:
    from glioserve_triton.process.options import free_ports

    try:
        free = free_ports("127.0.0.1", len(STANDARD_PORTS))
        yield Finding("server", "free ports", "ok", f"127.0.0.1 gives them ({', '.join(map(str, free))})")
    except OSError as error:
        yield Finding("server", "free ports", "fail", str(error.strerror), "allow this user to listen on 127.0.0.1")
    taken = [f"{port} ({name})" for name, port in STANDARD_PORTS.items() if _is_taken(port)]
    if taken:
        action = "fine if it is your server; else choose others with --grpc-port, --http-port, --metrics-port"
        yield Finding("server", "standard ports", "warn", f"in use: {', '.join(taken)}", action)
    else:
        yield Finding("server", "standard ports", "ok", ", ".join(map(str, STANDARD_PORTS.values())))


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(CALL_TIMEOUT_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _repository(repository: Path, profile: str | None) -> Iterator[Finding]:
    from glioserve_cli.diagnosis.brain import recipes_brain_model
    from glioserve_cli.diagnosis.plan import serving_plan
    from glioserve_triton.served.repository import check_repository, profiles

    plan, profile = serving_plan(repository, profile)
    try:
        checked = check_repository(repository, profile)
    except GlioserveError as error:
        yield Finding("repository", _short(repository), "fail", _short(f"[{error.code}] {error.detail}"), error.action)
        return
    yield Finding(
        "repository", _short(repository), "ok", f"whole; profiles {', '.join(profiles(repository)) or 'none'}"
    )
    for served in checked.versions:
        recipe = served.manifest.recipe
        channels = "+".join(map(str, recipe.channels))
        digest = served.manifest.weights_digest[:19]
        found = f"{recipe.name}, {recipe.architecture.name}, {channels}, weights {digest}…, files as in its manifest"
        if served == checked.serving:
            found = f"serves; {found}"
        yield Finding("repository", f"{served.name}/{served.version}", "ok", found)
    yield recipes_brain_model(checked.serving.manifest.recipe.brain_extraction)
    if plan is not None:
        yield plan


def _reached(url: str) -> Iterator[Finding]:
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(url)
    try:
        server = client.get_server_metadata(client_timeout=CALL_TIMEOUT_S)
        yield Finding("reached", url, "ok", f"Triton {server.version}")
        if not client.is_model_ready(ENSEMBLE.name, client_timeout=CALL_TIMEOUT_S):
            action = "look at the server's log: it is starting, draining, or could not load the model"
            yield Finding("reached", ENSEMBLE.name, "fail", "not ready", action)
            return
        model = client.get_model_metadata(ENSEMBLE.name, client_timeout=CALL_TIMEOUT_S)
        yield _contract_kept({t.name for t in model.inputs}, {t.name for t in model.outputs})
    except InferenceServerException as error:
        action = "check the address (the gRPC port, 8001 by default), the network and whether TLS is asked for"
        yield Finding("reached", url, "fail", f"no answer: {error.message()}", action)
    finally:
        client.close()


def _contract_kept(inputs: set[str], outputs: set[str]) -> Finding:
    lacking = {t.name for t in ENSEMBLE.inputs} - inputs | {t.name for t in ENSEMBLE.outputs} - outputs
    if lacking:
        action = "upgrade the older of client and server"
        return Finding("reached", ENSEMBLE.name, "fail", f"ready, but lacks {', '.join(sorted(lacking))}", action)
    return Finding("reached", ENSEMBLE.name, "ok", f"ready, with the tensors of contract {CONTRACT_VERSION}")


def _short(path: Path | str) -> str:
    home = str(Path.home())
    return str(path) if home == "/" else str(path).replace(home, "~")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / (1 << 20):.0f} MiB"
