"""A rendered pod as processes on this machine, as far as processes can stand for containers.

The pod has a network namespace of its own, with a loopback and links to the pods that it is told of, so that its ports
are the rendered ones.
Each container has a root of its own, read-only where it is rendered so, with the volumes at their places, its own
process namespace, the rendered command, arguments and environment, and runs as user 65534 without capabilities. The
kubelet's part is :class:`Pod`: init containers in their order, sidecars before and after the rest, probes, ``preStop``,
SIGTERM. Images are this project's environment and the wheel of Envoy.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import http.client
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from glioserve_triton.gateway.process import find_envoy
from support.cluster.helm_tools import ROOT, Manifest
from support.cluster.manifest_checks import quantity
from support.cluster.pod_network import connect_to
from support.server.triton import wait_until

USER = 65534
START_TIMEOUT_S = 180
_CLONE_NEWNET = 0x40000000
_IMAGE_ENV = {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
_LIBC = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")

_ROOT_SCRIPT = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$R"
for place in bin lib lib32 lib64 sbin; do
  if [ -L /$place ]; then cp -a /$place "$R"/
  elif [ -d /$place ]; then mkdir "$R"/$place; mount --rbind /$place "$R"/$place; fi
done
bind() { mkdir -p "$R$2"; mount --rbind "$1" "$R$2"; if [ "$3" = ro ]; then mount -o remount,bind,ro "$R$2"; fi; }
bind /usr /usr ro
cp -a /etc "$R"/etc
mkdir "$R"/proc "$R"/tmp; mount -t proc proc "$R"/proc
bind /dev /dev
"""


@functools.cache
def missing_rights() -> str:
    """Return why no pod can be made here; empty where one can."""
    if os.geteuid() != 0:
        return "namespaces, mounts and another user need root"
    if Path(sys.prefix).is_relative_to("/tmp"):
        return "this checkout is in /tmp, which a pod gets anew"
    tools = [tool for tool in ("unshare", "nsenter", "setpriv", "chroot", "ip") if shutil.which(tool) is None]
    if tools:
        return f"not installed: {', '.join(tools)}"
    tried = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    done = subprocess.run(tried, capture_output=True, text=True, timeout=20, check=False)
    return done.stderr.strip()


class Container:
    """One container's process, its exit code and its output."""

    def __init__(self, pod: Pod, spec: Manifest) -> None:
        self.spec, self.name = spec, str(spec["name"])
        self.lines: list[str] = []
        self._root = pod.folder / f"root-{self.name}"
        self._root.mkdir(exist_ok=True)
        namespaces = ["nsenter", f"--net=/proc/{pod.network}/ns/net", "unshare", "--mount", "--pid", "--fork"]
        self._process = subprocess.Popen(
            [*namespaces, "--kill-child=SIGKILL", "bash", "-c", self._script(pod)],
            env={"R": str(self._root), "PATH": os.defpath + ":/usr/sbin:/sbin"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _script(self, pod: Pod) -> str:
        needed = dict.fromkeys(shlex.quote(str(place)) for place in (ROOT, sys.base_prefix))
        lines = [_ROOT_SCRIPT, *(f"bind {place} {place} ro" for place in needed)]
        lines.append(f'printf %s {shlex.quote(pod.hosts)} >> "$R"/etc/hosts')
        lines.append('mount -t tmpfs -o mode=1777,size=64m tmpfs "$R"/dev/shm')
        for mount in self.spec["volumeMounts"]:
            source = pod.volumes[mount["name"]]
            if isinstance(source, int):
                lines.append(f'mount -t tmpfs -o mode=1777,size={source} tmpfs "$R"{mount["mountPath"]}')
            else:
                inside = source / mount.get("subPath", "")
                lines.append(f"bind {inside} {mount['mountPath']} {'ro' if mount.get('readOnly') else 'rw'}")
        if self.spec["securityContext"]["readOnlyRootFilesystem"]:
            lines.append('mount -o remount,ro "$R"')
        held = [f"{name}={value}" for name, value in (_IMAGE_ENV | pod.environment(self.spec)).items()]
        search = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(find_envoy(None).parent), "/usr/bin", "/bin"])
        command = self.spec.get("command", ["glioserve", "serve"])  # the image's entry point
        dropped = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
        whole = ["env", "-i", f"PATH={search}", *held, *command, *self.spec.get("args", [])]
        workdir = 'cd "$R"/tmp'
        lines += [workdir, shlex.join(["exec", "chroot", str(self._root), *dropped, "--bounding-set=-all", *whole])]
        return "\n".join(lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        stream: IO[str]
        with self._process.stdout as stream:
            self.lines.extend(line.rstrip("\n") for line in stream)

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """Return what it has printed."""
        return "\n".join(self.lines.copy())

    def end(self, timeout_s: float) -> int:
        """Wait for its end. Return the exit code."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    @property
    def first_process(self) -> int:
        """Process id, on this machine, of its process 1."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def signal(self, number: signal.Signals) -> None:
        """Signal its process 1."""
        os.kill(self.first_process, number)

    def processes(self, words: Callable[[list[bytes]], bool]) -> list[int]:
        """Process ids, on this machine, of its processes whose command line is meant."""
        space = os.stat(f"/proc/{self.first_process}/ns/pid").st_ino
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                line = (folder / "cmdline").read_bytes().split(b"\0")
                if (folder / "ns" / "pid").stat().st_ino == space and words(line):
                    found.append(int(folder.name))
        return found

    def kill(self) -> None:
        """End it and all its processes."""
        with contextlib.suppress(OSError, IndexError):  # its first process may have ended, or not begun
            self.signal(signal.SIGKILL)  # which takes the whole process namespace with it
        self._process.kill()
        self.end(20)


class Pod:
    """A pod of rendered manifests; ``with`` starts and removes it."""

    def __init__(
        self,
        spec: Manifest,
        manifests: Sequence[Manifest],
        outside: Mapping[str, Path],
        folder: Path,
        beside: Pod | None = None,
        services: Mapping[str, Sequence[Pod]] | None = None,
    ) -> None:
        """Make the volumes. ``outside`` has a folder for each ``Kind/name`` that the release does not bring along.

        A pod that is ``beside`` another reaches that one's ports under the names of the release's services. The names
        in ``services`` lead to the pods there, over a network.
        """
        self.spec, self.folder, self._beside = spec, folder, beside
        self._services, self._elsewhere = services or {}, ""
        self._manifests, self._outside = manifests, outside
        self.containers: dict[str, Container] = {}
        self._holder: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self.volumes = {volume["name"]: self._volume(volume) for volume in spec["volumes"]}

    def _volume(self, volume: Manifest) -> Path | int:
        """The folder that stands for a volume, or the bytes of one in memory."""
        if "emptyDir" in volume and volume["emptyDir"].get("medium") == "Memory":
            return int(quantity(volume["emptyDir"]["sizeLimit"]) or 0)
        folder = self.folder / f"volume-{volume['name']}"
        folder.mkdir()
        if "emptyDir" in volume:
            os.chown(folder, USER, USER)
        for source in volume["projected"]["sources"] if "projected" in volume else [volume]:
            self._fill(folder, source)
        return folder if "persistentVolumeClaim" not in volume else self._claimed(volume)

    def _claimed(self, volume: Manifest) -> Path:
        return self._outside[f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}"]

    def _fill(self, folder: Path, source: Manifest) -> None:
        for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if key not in source:
                continue
            name = source[key].get("secretName") or source[key]["name"]
            content = self._content(kind, name)
            for item in source[key].get("items") or [{"key": each, "path": each} for each in content]:
                if item["key"] in content:
                    (folder / item["path"]).write_bytes(content[item["key"]])
                    os.chown(folder / item["path"], 0, USER)
                    (folder / item["path"]).chmod(0o640)
                elif not source[key].get("optional"):
                    raise AssertionError(f"{kind}/{name} has no key {item['key']}")

    def _content(self, kind: str, name: str) -> dict[str, bytes]:
        if f"{kind}/{name}" in self._outside:
            return {file.name: file.read_bytes() for file in self._outside[f"{kind}/{name}"].iterdir()}
        (found,) = (m for m in self._manifests if m["kind"] == kind and m["metadata"]["name"] == name)
        decode = base64.b64decode if kind == "Secret" else str.encode
        return {key: decode(value) for key, value in found["data"].items()}

    def environment(self, container: Manifest) -> dict[str, str]:
        """Return a container's variables."""
        values = {}
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                values[variable["name"]] = self._content("Secret", reference["name"])[reference["key"]].decode()
            else:
                values[variable["name"]] = variable["value"]
        return values

    # --- The kubelet's part ---

    @property
    def network(self) -> int:
        """Process id of the holder of the network namespace."""
        if self._beside is not None:
            return self._beside.network
        assert self._holder is not None
        return self._holder.pid

    @property
    def hosts(self) -> str:
        """Lines of ``/etc/hosts`` for the release's services."""
        services = [m["metadata"] for m in self._manifests if m["kind"] == "Service"]
        names = [f"{each['name']}.{each['namespace']}.svc" for each in services]
        own = "".join(f"127.0.0.1 {name}\n" for name in names if name not in self._services)
        return own + self._elsewhere

    def __enter__(self) -> Pod:
        if self._beside is None:
            up = "ip link set lo up && echo up && exec sleep infinity"
            self._holder = subprocess.Popen(["unshare", "--net", "bash", "-c", up], stdout=subprocess.PIPE)
            assert self._holder.stdout is not None
            assert self._holder.stdout.readline() == b"up\n"
        try:
            self._elsewhere = connect_to(self.network, self._services)
            self._start()
        except BaseException:
            self.remove()
            raise
        return self

    def _start(self) -> None:
        for spec in self.spec.get("initContainers", []):
            container = self.containers[spec["name"]] = Container(self, spec)
            if spec.get("restartPolicy") == "Always":
                self._wait_started(container)
            elif container.end(START_TIMEOUT_S) != 0:
                raise AssertionError(f"{container.name} ended with code {container.code}:\n{container.log}")
        for spec in self.spec["containers"]:
            self.containers[spec["name"]] = Container(self, spec)

    def _wait_started(self, container: Container) -> None:
        wait_until(lambda: container.code is not None or self.probe(container.name, "startupProbe"), container.name)
        assert container.code is None, container.log

    def probe(self, name: str, kind: str) -> bool:
        """Return whether the kubelet would call it a success."""
        container = self.containers[name].spec
        asked = container[kind]["httpGet"]
        port = next(p["containerPort"] for p in container["ports"] if p["name"] == asked["port"])
        return self.get(port, asked["path"], container[kind].get("timeoutSeconds", 1))[0] in range(200, 400)

    def get(self, port: int, path: str, timeout_s: float = 10) -> tuple[int, str]:
        """Status and text of an HTTP answer from the pod; status 0 where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.sock = self.connect(port, timeout_s)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def connect(self, port: int, timeout_s: float) -> socket.socket:
        """A connection to a port of the pod."""

        def inside() -> socket.socket:
            with open(f"/proc/{self.network}/ns/net") as space:
                if _LIBC.setns(space.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return socket.create_connection(("127.0.0.1", port), timeout_s)

        return _in_a_thread(inside)

    @property
    def ready(self) -> bool:
        """Return whether every container that has a readiness probe passes it, as endpoints need it."""
        probed = [c for c in self.containers.values() if "readinessProbe" in c.spec]
        return all(c.code is None and self.probe(c.name, "readinessProbe") for c in probed)

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it is ready; AssertionError with the logs where a container ends instead."""
        deadline = time.monotonic() + timeout_s
        while not self.ready:
            running = {spec["name"] for spec in self.spec["containers"]}
            ended = [c for c in self.containers.values() if c.name in running and c.code is not None]
            logs = "\n".join(f"--- {c.name}: {c.code}\n{c.log}" for c in self.containers.values())
            assert not ended, logs
            assert time.monotonic() < deadline, logs
            time.sleep(0.1)

    def ask(self, spec: Manifest, outside: Mapping[str, Path], manifests: Sequence[Manifest]) -> Container:
        """Run another pod, as a test's, whose one container ends by itself. Return that."""
        folder = self.folder / f"asks-{len(list(self.folder.glob('asks-*')))}"
        with Pod(spec, manifests, outside, folder, self) as pod:
            (container,) = (pod.containers[each["name"]] for each in spec["containers"])
            container.end(START_TIMEOUT_S)
            return container

    def terminate(self) -> dict[str, int]:
        """End it as the kubelet does: preStop, SIGTERM, and sidecars last, in reverse. Return the exit codes."""
        running = [c for c in self.containers.values() if c.code is None]
        sidecars = [c for c in reversed(running) if c.spec.get("restartPolicy") == "Always"]
        rest = [c for c in running if c not in sidecars]
        codes: dict[str, int] = {}
        grace_s = self.spec["terminationGracePeriodSeconds"]

        def end(container: Container) -> None:
            time.sleep(container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))
            container.signal(signal.SIGTERM)
            codes[container.name] = container.end(grace_s)

        with ThreadPoolExecutor(max(len(rest), 1)) as pool:
            list(pool.map(end, rest))
        for container in sidecars:
            end(container)
        return codes

    def remove(self) -> None:
        """Kill what is left of it."""
        for container in self.containers.values():
            container.kill()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait(20)
            assert self._holder.stdout is not None
            self._holder.stdout.close()

    def __exit__(self, *_: object) -> None:
        self.remove()


class Service:
    """A port of this machine that leads each new connection to a pod that is ready, as a cluster's Service does."""

    def __init__(self, pods: Callable[[], Sequence[Pod]], port: int) -> None:
        """``pods`` are asked for at every connection; ``port`` is the containers'."""
        self._pods, self._port, self._turn = pods, port, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(caller,), daemon=True).start()

    def _lead(self, caller: socket.socket) -> None:
        ready = [pod for pod in self._pods() if pod.ready]
        if not ready:
            caller.close()
            return
        self._turn += 1
        try:
            server = ready[self._turn % len(ready)].connect(self._port, 10)
        except OSError:
            caller.close()
            return
        server.settimeout(None)
        self._open += [caller, server]
        back = threading.Thread(target=_copy, args=(server, caller), daemon=True)
        back.start()
        _copy(caller, server)
        back.join()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _in_a_thread(work: Callable[[], _Result]) -> _Result:
    """The result of ``work`` in a thread of its own, whose network namespace ends with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@contextlib.contextmanager
def running(spec: Manifest, manifests: Sequence[Manifest], outside: Mapping[str, Path], folder: Path) -> Iterator[Pod]:
    """A pod that is ready."""
    with Pod(spec, manifests, outside, folder) as pod:
        pod.wait_ready()
        yield pod
