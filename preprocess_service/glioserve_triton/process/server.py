"""Start a Triton server, wait until its model is ready, drain it, stop it; nothing of it stays behind."""

from __future__ import annotations

import compileall
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.adapters.heartbeat import RUN_FOLDER
from glioserve_triton.adapters.own_requests import make_token, own_parameters
from glioserve_triton.admin import UNLOADED, ServerAdmin
from glioserve_triton.channel import ChannelTls
from glioserve_triton.process.backend_folder import build_backend_folder
from glioserve_triton.process.floors import check_exposure, installed_version, standing_of
from glioserve_triton.process.guarded import GuardedProcess, OnLine
from glioserve_triton.process.locate import Installation, check_libraries, find_installation
from glioserve_triton.process.options import Ports, ServerOptions
from glioserve_triton.process.run_folder import REGION_BYTES, RunFolder, sweep_dead_runs
from glioserve_triton.reference_case import ServedCases
from glioserve_triton.served.ensemble import steps_of
from glioserve_triton.served.profile import profile_needs
from glioserve_triton.stubs import Unreaped, stubs_of
from glioserve_triton.waiting import StopCheck, never
from glioserve_watch.shadow.images import SHADOW_IMAGES
from glioserve_watch.spool import SPOOL_FOLDER, make_spool

if TYPE_CHECKING:
    from glioserve_triton.process.tls import PreparedTls

PORT_ATTEMPTS = 5
EXIT_MARGIN_S = 5.0
"""Triton counts its exit timeout in whole seconds, then still ends its Python stubs."""
_POLL_S = 0.05
_CLASH = ":{port}' already in use"

Admission = Callable[[], None]
"""Check of the loaded steps, before the model itself is loaded and can be asked; it raises to end the start."""


class TritonServer:
    """A server over one model repository, as a context manager.

    ``with TritonServer(repository) as server: GliomaClient(server.grpc_url)``
    """

    def __init__(self, repository: Path, options: ServerOptions | None = None, on_line: OnLine | None = None) -> None:
        """``on_line`` is called, by a thread, with every line of the server's log."""
        self.repository = repository
        self.options = options or ServerOptions()
        self._on_line = on_line
        self._process: GuardedProcess | None = None
        self._ports = Ports(0, 0, 0)
        self._tls: PreparedTls | None = None
        self.steps: tuple[str, ...] = ()
        """The models that the ensemble runs; empty for a model that is not an ensemble."""
        self.standing = standing_of(None)
        """The running version beside the known holes; unknown before :meth:`start`."""
        self.embedded = False
        """True where the running server is the nvidia-pytriton wheel's."""
        self.spool: Path | None = None
        """Folder of the records of studies that wait for the supervisor; None where none are kept."""
        self.shadow_images: Path | None = None
        """Folder of the inputs that wait for a candidate; None where there is none."""
        self.cases = ServedCases(repository / CLASSIFIER_MODEL.name)
        """Reference cases of the classifier's versions, as they were when they were first asked."""
        self._own_parameters: dict[str, str] = {}
        self.damaged = False
        """Set where a Python process died: Triton then never ends by itself, so :meth:`stop` does not wait for it."""

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def grpc_url(self) -> str:
        """``host:port``, as gRPC clients want it."""
        return f"{self.options.local_grpc_host}:{self._ports.grpc}"

    @property
    def http_url(self) -> str | None:
        """``http://host:port``, None where HTTP is off."""
        return f"http://{self.options.local_host}:{self._ports.http}" if self.options.http else None

    @property
    def metrics_url(self) -> str | None:
        """Address that Prometheus scrapes; None where metrics are off."""
        return f"http://{self.options.local_host}:{self._ports.metrics}/metrics" if self.options.metrics else None

    @property
    def tls(self) -> PreparedTls | None:
        """TLS files as this run of the server read them; None where gRPC is in plain text, and before :meth:`start`."""
        return self._tls

    @property
    def channel_tls(self) -> ChannelTls | None:
        """The credentials with which this process connects to the gRPC port; None for plain text."""
        return None if self._tls is None else self._tls.channel

    @property
    def own_parameters(self) -> dict[str, str]:
        """Request parameters by which the models of this run know the supervisor's own requests."""
        return self._own_parameters

    def admin(self) -> ServerAdmin:
        """Connect to the running server with the admin token."""
        options = self.options
        return ServerAdmin(self.grpc_url, options.admin_token, self.channel_tls, options.shared_memory_token)

    @property
    def process(self) -> GuardedProcess:
        """The running process. RuntimeError before :meth:`start` and after :meth:`stop`."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def start(self, give_up: StopCheck = never, admission: Admission | None = None) -> None:
        """Start and wait until the model is ready.

        The steps of an ensemble are loaded first, then ``admission`` may check them, and only then is the ensemble
        loaded: until then no study can be answered and no probe finds it ready.

        GLIO-5109 or 5110 where no server can run here; GLIO-5129 where one with known holes could be reached from a
        network; GLIO-5127 where a TLS file is unfit; GLIO-5111, with the tail of the log, where it ended, was not
        ready in time, or ``give_up`` said so; whatever ``admission`` raises.
        """
        if self._process is not None:
            raise RuntimeError("the server is running already")
        if not self.repository.is_dir():
            raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{self.repository} is not a folder.")
        self.steps, self.damaged = steps_of(self.repository, self.options.model), False
        installation = find_installation(self.options.tritonserver)
        check_libraries(installation)
        self._check_exposure(installation, installed_version(installation))
        if self.options.tls is not None:
            from glioserve_triton.process.tls import prepare_tls  # its library is loaded only here

            self._tls = prepare_tls(self.options.tls)
        _sweep()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._ports = self._choose_ports()
            self._process = self._spawn(installation)
            try:
                self._wait_until_ready(installation, give_up, admission)
                return
            except BaseException:
                clashed = self._lost_a_chosen_port()
                self._kill()
                if not clashed or attempt == PORT_ATTEMPTS:
                    raise

    def drain(self, timeout_s: float | None = None, hurry: StopCheck = never) -> bool:
        """Refuse new studies, wait for those in flight. Whether all were done in time.

        SIGTERM alone would fail them: Triton then rejects an ensemble's next step. So the ensemble is unloaded
        first, which lets them finish. ``hurry`` may end the waiting.
        """
        deadline = time.monotonic() + (self.options.drain_timeout_s if timeout_s is None else timeout_s)
        model = self.options.model
        try:
            with self.admin() as admin:
                admin.unload(model)
                while time.monotonic() < deadline and self.process.poll() is None:
                    if all(state == UNLOADED for state in admin.states(model)):
                        return True
                    if hurry():
                        return False
                    time.sleep(_POLL_S)
        except InferenceServerException:
            return False  # a server that does not answer has nothing to wait for; stop() bounds the rest
        return False

    def stop(self, hurry: StopCheck = never, drained: Callable[[], None] = lambda: None) -> bool:
        """Drain, then end the server and all that belongs to it. Whether every study in flight was done.

        ``drained`` is called between the two. Bounded by the drain's and the exit's timeouts; safe to call twice.
        """
        if self._process is None:
            return True
        done = False
        try:
            if self._process.poll() is None:
                done = self.drain(hurry=hurry)
                drained()
                if not self.damaged:
                    self._process.terminate(self.options.exit_timeout_s + EXIT_MARGIN_S, hurry)
        finally:
            self._kill()
        return done

    def _kill(self) -> None:
        process, self._process = self.process, None
        process.kill()

    def _choose_ports(self) -> Ports:
        try:
            return self.options.choose_ports()
        except OSError as error:
            raise GlioserveError(
                ErrorCode.SERVER_FAILED, f"No port can be bound on {self.options.host}: {error.strerror}."
            ) from error

    def _lost_a_chosen_port(self) -> bool:
        """Return whether another process took a port between our choice and the server's bind."""
        tail = self.process.tail() if self.process.poll() is not None else ""
        return any(_CLASH.format(port=port) in tail for port in self.options.chosen_among(self._ports))

    def _spawn(self, installation: Installation) -> GuardedProcess:
        try:
            run = RunFolder()
        except OSError as error:
            raise _no_folder(error) from error
        try:
            _compile_models(self.repository)
            needed = profile_needs(self.repository, self.options.profile).backend
            backends = build_backend_folder(installation, run.path / "backends", needed)
            models = self.steps or (self.options.model,)
            flags = self.options.flags(self._ports, self.repository.resolve(), models)
            flags += [
                f"--id={run.path.name}",
                f"--backend-directory={backends}",
                f"--backend-config=python,shm-region-prefix-name={run.shared_memory_prefix}",
                f"--backend-config=python,shm-default-byte-size={REGION_BYTES}",
            ]
            if self._tls is not None:
                flags += self._tls.flags(run.path)
            if installation.caches:
                flags.append(f"--cache-directory={installation.caches}")
            if installation.origin == "wheel":
                flags.append("--allow-gpu-metrics=false")  # the wheel brings no working DCGM
            make_token(run.path)
            self._own_parameters = own_parameters(run.path)  # once: a cleaner of /tmp may take the file later
            environment = {**self.options.environment(installation), RUN_FOLDER: str(run.path)}
            if self.options.watches_studies:
                self.spool = (self.options.study_log or run.path) / "spool"
                make_spool(self.spool)
                environment[SPOOL_FOLDER] = str(self.spool)
            if self.options.shadows:
                self.shadow_images = run.path / "shadow"
                make_spool(self.shadow_images)
                environment[SHADOW_IMAGES] = str(self.shadow_images)
            return self._begin([str(installation.binary), *flags], environment, run)
        except BaseException as error:
            run.remove()
            if isinstance(error, OSError):
                raise _no_folder(error) from error
            raise

    def _begin(self, command: list[str], environment: dict[str, str], run: RunFolder) -> GuardedProcess:
        try:
            return GuardedProcess(command, environment, run, self._on_line)
        except OSError as error:  # no right to execute it, no memory, as many processes as there may be
            what = f"No process can be started for tritonserver: {error.strerror}"
            raise GlioserveError(
                ErrorCode.SERVER_FAILED, f"{what} ({error.filename})." if error.filename else f"{what}."
            ) from error

    def _check_exposure(self, installation: Installation, version: str | None) -> None:
        options = self.options
        check_exposure(installation, version, loopback=options.loopback, allowed=options.allow_known_cves)
        self.standing, self.embedded = standing_of(version), installation.origin == "wheel"

    def _check_running(self, installation: Installation, admin: ServerAdmin) -> None:
        try:
            version = admin.version()
        except InferenceServerException as error:
            raise self.failure(f"tritonserver does not tell its version: {error.message()}") from error
        self._check_exposure(installation, version)

    def _wait_until_ready(self, installation: Installation, give_up: StopCheck, admission: Admission | None) -> None:
        model = self.options.model
        deadline = time.monotonic() + self.options.ready_timeout_s
        with self.admin() as admin:
            for step in self.steps:
                self._wait_for(step, admin, deadline, give_up)
            if self.steps:
                self._check_running(installation, admin)
            if admission is not None:
                admission()
            if self.steps and not admin.is_ready(model, self.process.run.path.name):
                try:
                    admin.load(model, max(deadline - time.monotonic(), 1.0))
                except InferenceServerException as error:
                    raise self.failure(f"{model} cannot be loaded: {error.message()}") from error
            self._wait_for(model, admin, deadline, give_up)
            if not self.steps:
                self._check_running(installation, admin)
            self._begin_sampling(admin)

    def _begin_sampling(self, admin: ServerAdmin) -> None:
        """Have a share of the studies traced; the flags trace none but those that ask for it."""
        traces = self.options.traces
        if traces is not None and traces.rate:
            try:
                admin.trace(self.options.model, traces.rate)
            except InferenceServerException as error:
                raise self.failure(f"tritonserver does not take a rate of traces: {error.message()}") from error

    def _wait_for(self, model: str, admin: ServerAdmin, deadline: float, give_up: StopCheck) -> None:
        process, served, unreaped = self.process, self.options.model, Unreaped()
        while not admin.is_ready(model, process.run.path.name):
            if (code := process.poll()) is not None:
                raise self.failure(f"tritonserver ended with code {code} before {served} was ready")
            if unreaped.is_any(pid for pid, stub in stubs_of(process.pid).items() if stub.dead):
                raise self.failure(f"a process of a Python model died while it was loaded, before {served} was ready")
            if time.monotonic() > deadline:
                raise self.failure(f"{served} was not ready after {self.options.ready_timeout_s:g} s")
            if give_up():
                raise self.failure(f"stopped before {served} was ready")
            time.sleep(_POLL_S)

    def failure(self, what: str) -> GlioserveError:
        """GLIO-5111 that says ``what`` and has the tail of the log."""
        tail = self.process.tail().replace(self.options.admin_token, "***")
        return GlioserveError(ErrorCode.SERVER_FAILED, f"{what}; the end of its log:\n{tail}\n")


def _compile_models(repository: Path) -> None:
    """Compile the repository's Python models, where it can be written to.

    A model's first import would write the compiled file beside it, which Triton takes for a change of the model: it
    would load it a second time, with the ensemble. Triton's stub ignores PYTHONDONTWRITEBYTECODE.
    """
    for file in repository.glob("*/[0-9]*/model.py"):
        compileall.compile_file(file, quiet=2)


def _sweep() -> None:
    try:
        sweep_dead_runs()
    except OSError as error:
        raise _no_folder(error) from error


def _no_folder(error: OSError) -> GlioserveError:
    return GlioserveError(
        ErrorCode.SERVER_FAILED, f"The run's folder cannot be made in the temporary folder (TMPDIR): {error.strerror}."
    )
