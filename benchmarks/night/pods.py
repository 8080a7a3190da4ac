"""Pods of one release on one machine: supervised servers in mount namespaces of their own, scraped by one Prometheus.

Each pod is ``glioserve serve`` with TLS; its /dev/shm and the volume of its study log are small, and a file is in the
place of its cgroup's limit on memory, so that a limit can be near without harm to the machine. There is one Triton:
a pod with a newer one reads another table of releases. There is no GPU: whether the classifier finds memory is a file.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from glioserve_client import GliomaClient, RetryPolicy, TlsOptions
from glioserve_triton.process.floors import TABLE, release_number
from glioserve_triton.process.options import free_ports
from glioserve_triton.stubs import Stub, stubs_of
from night.backend import BACKEND, failing_backend
from support.cluster.rules import FULLNAME
from support.network.pki import SERVER, Authority
from support.prometheus import Prometheus
from support.server.serve import Serve, serving

HOST = "127.0.0.1"
SHARED_MEMORY_MIB, STUDY_LOG_MIB = 256, 16
STUDY_LOG = "study-log"
STAGE_TIMEOUT_S = 40
"""``stages.timeoutSeconds`` of the night; 300 in the chart."""
STOP_TIMEOUT_S = 40.0
SCRAPE_TIMEOUT_S = 30.0
"""Prometheus takes up to five seconds to see that its targets have changed."""
LIMIT_FILES = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files in which a pod finds its limit on memory, by the version of cgroups."""


@dataclass
class Pod:
    """One pod; it runs from the moment that it is made."""

    name: str
    repository: Path
    limit_file: Path
    command: tuple[str, ...]
    """Words before the command that serves: the pod's mounts."""
    options: tuple[str, ...]
    authority: Path
    folder: Path
    """Its own, where its study log is mounted."""
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        try:
            self.serve = self._run()
            trusted = TlsOptions(self.authority)
            self.client = GliomaClient(self.url, tls=trusted, retry=RetryPolicy(longest_pause_s=2.0))
            self.stack.callback(self.client.close)
        except BaseException:  # an interrupt while it starts, before the release knows it
            self.stack.close()
            raise

    def restart(self) -> None:
        """Start its server anew after its end, by the same name and on the same ports."""
        self.serve = self._run()

    def _run(self) -> Serve:
        return self.stack.enter_context(serving(self.repository, *self.options, prefix=self.command))

    @property
    def page(self) -> str:
        """``host:port`` that Prometheus scrapes."""
        return self.serve.probe_url().removeprefix("http://")

    @property
    def url(self) -> str:
        """``host:port`` of the gRPC port."""
        return self.serve.grpc_url()

    def is_ready(self) -> bool:
        """Return whether ``/readyz`` is 200 now."""
        try:
            with urllib.request.urlopen(self.serve.probe_url("/readyz"), timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stubs(self, model: str) -> list[Stub]:
        """Return the living processes of a Python model."""
        found = stubs_of(self.serve.server_pid()).values()
        return [stub for stub in found if stub.model == model and not stub.dead]

    def shared_memory(self) -> Path:
        """Return its /dev/shm, for a process outside its namespace."""
        return self._inside("/dev/shm")

    def study_log(self) -> Path:
        """Return the folder of its study log, for a process outside its namespace."""
        return self._inside(str(self.folder / STUDY_LOG))

    def _inside(self, path: str) -> Path:
        return Path(f"/proc/{self.serve.process.pid}/root{path}")

    def metric(self, name: str) -> float:
        """Return the value of the series whose name and labels match a pattern on its page now; NaN without one."""
        with urllib.request.urlopen(self.serve.probe_url("/metrics"), timeout=10) as answer:
            match = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(match[1]) if match else float("nan")


class Release:
    """The pods that are there, which of them take studies, and what Prometheus is told to scrape."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository, self.folder = repository, folder
        self.authority = Authority(folder, "authority", days=(-1, 400))
        self.pods: list[Pod] = []
        self.prometheus: Prometheus | None = None
        self.others: list[tuple[str, Mapping[str, str]]] = []
        """Pages beside the pods' that Prometheus scrapes, with the labels of their series."""
        self.no_memory = folder / "no memory"
        """File for as long as which the runs of the classifier find no memory, as if another program had a GPU's."""
        self._made = 0

    def start(
        self, *, certificate_days: float = 90.0, repository: Path | None = None, above_floors: bool = False
    ) -> Pod:
        """Start a pod, have it scraped and have it take studies once it is ready.

        Args:
            certificate_days: days that its certificate lasts.
            repository: a repository of its own; the release's where there is none.
            above_floors: let it read another table of Triton's releases, in which the embedded one is the newest.
        """
        self._made += 1
        name = f"{FULLNAME}-{self._made}"
        folder = self.folder / name
        folder.mkdir()
        certificate = self.authority.issue(name, hosts=[HOST], usage=SERVER, days=(-1, certificate_days))
        limit_file = folder / "limit"
        study_log = folder / STUDY_LOG
        study_log.mkdir()
        mounts = [
            f"mount -t tmpfs -o size={size_mib}m tmpfs {shlex.quote(path)}"
            for path, size_mib in (("/dev/shm", SHARED_MEMORY_MIB), (str(study_log), STUDY_LOG_MIB))
        ]
        for real in (Path("/") / file for file in LIMIT_FILES):
            if real.is_file():
                shutil.copyfile(real, limit_file)
                mounts.append(_bind(limit_file, real))
        if above_floors:
            mounts.append(_bind(_newer_table(folder), TABLE))
        mounts.append(_bind(failing_backend(folder, self.no_memory), BACKEND))
        script = " && ".join([*mounts, 'exec "$@"'])
        tls = (f"--tls-cert={certificate}", f"--tls-key={certificate.with_suffix('.key')}")
        grpc_port, probe_port = free_ports(HOST, 2)
        pod = Pod(
            name,
            repository or self.repository,
            limit_file,
            ("unshare", "--mount", "sh", "-c", script, "sh"),
            (
                f"--stage-timeout-s={STAGE_TIMEOUT_S}",
                f"--grpc-port={grpc_port}",
                f"--probe-port={probe_port}",
                *tls,
                f"--study-log={study_log}",
            ),
            self.authority.file,
            folder,
        )
        self.pods.append(pod)
        self.tell_prometheus()
        self.wait_for(lambda: self.is_scraped(pod), SCRAPE_TIMEOUT_S)
        return pod

    def is_scraped(self, pod: Pod) -> bool:
        """Return whether Prometheus has the pod as ready; True where there is no Prometheus yet."""
        query = f'glioserve_ready{{pod="{pod.name}"}} == 1'
        return self.prometheus is None or bool(self.prometheus.ask(query))

    def stop(self, pod: Pod) -> None:
        """Take a pod away as Kubernetes does: no study more, SIGTERM, gone from what is scraped when it has ended."""
        self.pods.remove(pod)
        pod.serve.process.send_signal(signal.SIGTERM)
        self.wait_for(lambda: pod.serve.process.poll() is not None, STOP_TIMEOUT_S)
        self.tell_prometheus()
        pod.stack.close()

    def crash(self, pod: Pod) -> None:
        """Kill a pod's tritonserver, and start the container anew when its supervisor has ended, as Kubernetes does."""
        os.kill(pod.serve.server_pid(), signal.SIGKILL)
        self.wait_for(lambda: pod.serve.process.poll() is not None, STOP_TIMEOUT_S)
        pod.restart()

    def close(self) -> None:
        """Stop all pods."""
        for pod in self.pods.copy():
            self.stop(pod)

    def tell_prometheus(self, page: Callable[[Pod], str] = lambda pod: pod.page) -> None:
        """Have Prometheus scrape the pods that are there, each at ``page``."""
        if self.prometheus is not None:
            labels = ({"namespace": "mri", "pod": pod.name} for pod in self.pods)
            self.prometheus.scrape(*zip(map(page, self.pods), labels, strict=True), *self.others)

    def takers(self) -> list[Pod]:
        """Return the pods that get studies: those on the release's own repository."""
        return [pod for pod in self.pods if pod.repository == self.repository]

    @property
    def pod(self) -> Pod:
        """The pod that has been there longest: the one that faults strike."""
        return self.pods[0]

    def kill(self, model: str) -> None:
        """Kill a process of a Python model of that pod."""
        os.kill(self.pod.stubs(model)[0].pid, signal.SIGKILL)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds; return whether it did in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def _bind(file: Path, place: Path) -> str:
    return f"mount --bind {shlex.quote(str(file))} {shlex.quote(str(place))}"


def _newer_table(folder: Path) -> Path:
    """Write a table of Triton's releases in which every version is the newest, for a pod above both floors."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    newest = max(table["releases"].values(), key=release_number)
    file = folder / TABLE.name
    file.write_text(json.dumps({**table, "releases": dict.fromkeys(table["releases"], newest)}), encoding="utf-8")
    return file
