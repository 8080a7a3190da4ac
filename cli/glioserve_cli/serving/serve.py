"""``glioserve serve``: a supervisor in the foreground, the same on a laptop and in a container.

SIGTERM, SIGINT and SIGHUP drain and stop: exit code 0. A second one skips the rest of the drain. A server that
ends by itself is an error with the end of its log: exit code 1. A part that failed and could not be repaired ends
with exit code 75: the server must be started anew.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_cli.serving.front_door import FrontDoor, add_gateway_arguments
from glioserve_cli.serving.server_tls import add_server_tls_arguments, server_tls_of, tell_expiry
from glioserve_cli.serving.server_version import tell_standing
from glioserve_cli.serving.study_log import add_study_log_arguments, opened_study_log
from glioserve_cli.serving.telemetry import add_telemetry_arguments, telemetry_of
from glioserve_cli.stop_signals import STOP
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_triton.log_stream import log_stream
from glioserve_triton.plans.discovery import ONNX_PROFILE, TENSORRT_PROFILE, LoadWatch, profile_to_serve, tell_fallback
from glioserve_triton.process.floors import ALLOW_FLAG
from glioserve_triton.process.logs import Log
from glioserve_triton.process.options import ServerOptions, read_admin_token, read_shared_memory_token
from glioserve_triton.process.server import TritonServer
from glioserve_triton.process.sizing import check_room
from glioserve_triton.served.repository import CheckedRepository, check_repository
from glioserve_triton.shadow.candidate import find_candidate
from glioserve_triton.supervisor.health import Health, Phase
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_triton.supervisor.probes import ProbeServer
from glioserve_triton.supervisor.studies import KeptStudies, StudyLog, keep_studies
from glioserve_triton.supervisor.supervisor import Limits, Supervisor
from glioserve_triton.supervisor.triton_page import triton_page

EXIT_NOT_HEALED = os.EX_TEMPFAIL
_PROBE_PORT = 8003
_LIMITS = Limits()
_SECONDS = argtypes.seconds(most_s=argtypes.DAY_S, zero=True)
_DEFAULTS = ServerOptions(grpc_port=8001, http_port=8000, metrics_port=8002)
"""Triton's own port numbers: what a caller expects of a server that stays."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option of :class:`ServerOptions` that an operator sets."""
    add = parser.add_argument
    add("--repository", type=Path, required=True, metavar="DIR", help="assembled by `glioserve export` or `make demo`")
    add("--profile", help="how the classifier runs: a file of its configs/ (default: its config.pbtxt)")
    add("--tritonserver", type=Path, metavar="PATH", help="default: the container's, else the nvidia-pytriton wheel's")
    add(
        "--host",
        type=argtypes.checked(lambda text: ServerOptions(host=text).host),
        default=_DEFAULTS.host,
        help="address to bind (default %(default)s; 0.0.0.0 or :: for all)",
    )
    add("--grpc-port", type=argtypes.port, default=_DEFAULTS.grpc_port, help="default %(default)s; 0 picks a free one")
    add("--http-port", type=argtypes.port, default=_DEFAULTS.http_port, help="default %(default)s")
    add("--metrics-port", type=argtypes.port, default=_DEFAULTS.metrics_port, help="default %(default)s")
    add("--probe-port", type=argtypes.port, default=_PROBE_PORT, help="probes and all metrics (default %(default)s)")
    add(
        "--http",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="open Triton's HTTP API beside gRPC, on --http-port (default: closed)",
    )
    add(
        ALLOW_FLAG,
        dest="allow_known_cves",
        action="store_true",
        help="start a tritonserver with known security holes where a network reaches it (docs/security.md)",
    )
    add("--accept-identified-dicom", action="store_true", help="else DICOM that names its patient is refused")
    add(
        "--admin-token-file",
        type=argtypes.checked(lambda text: read_admin_token(Path(text))),
        metavar="FILE",
        help="token that opens model control (default: a random one, known to this process alone)",
    )
    add(
        "--shared-memory-token-file",
        type=argtypes.checked(lambda text: read_shared_memory_token(Path(text))),
        metavar="FILE",
        help="let callers of this machine that can read FILE give volumes by shared memory (default: closed)",
    )
    add("--ready-timeout-s", type=_SECONDS, default=_DEFAULTS.ready_timeout_s, help="default %(default)s")
    add("--drain-timeout-s", type=_SECONDS, default=_DEFAULTS.drain_timeout_s, help="default %(default)s")
    add(
        "--exit-timeout-s",
        type=argtypes.whole_seconds(most_s=argtypes.DAY_S, zero=True),
        default=_DEFAULTS.exit_timeout_s,
        help="default %(default)s",
    )
    add_server_tls_arguments(parser)
    add_gateway_arguments(parser)
    add(
        "--stage-timeout-s",
        type=argtypes.seconds(most_s=argtypes.DAY_S, zero=False),
        default=_LIMITS.hung_after_s,
        help="a stage that works longer on one request is taken for a hang and replaced (default %(default)s)",
    )
    add(
        "--stage-memory-limit-mib",
        type=argtypes.count,
        default=_LIMITS.memory_bytes >> 20,
        metavar="MIB",
        help="a larger process of a Python model is replaced between two requests (default %(default)s)",
    )
    add_study_log_arguments(parser)
    add_telemetry_arguments(parser)
    add(
        "--shadow",
        type=argtypes.count,
        metavar="VERSION",
        help="let this version of the repository see live studies; its answers go to the study log alone",
    )
    add("--log-verbosity", type=int, default=_DEFAULTS.log_verbosity, help="Triton's --log-verbose")
    add(
        "--triton-flag",
        action="append",
        default=[],
        type=argtypes.checked(lambda text: ServerOptions(extra_flags=(text,)).extra_flags[0]),
        metavar="FLAG",
        help="a further flag for tritonserver, as in --triton-flag=--trace-config=level=TIMESTAMPS",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal asks to stop: exit code 0."""
    with STOP.caught(), log_stream(sys.stderr) as stream:
        return _serve(args, Log(stream, args.log_format, args.log_level))


def _serve(args: argparse.Namespace, log: Log) -> int:
    if STOP.first():
        log.event("stopped before the start")
        return 0
    profile = profile_to_serve(args.repository, args.profile, log)
    checked = check_repository(args.repository, profile)
    check_room(args.repository, log)
    with ExitStack() as stack:
        study_log = stack.enter_context(opened_study_log(args, log, _candidate(args, log)))
        serving = _Serving(args, checked, log, profile, study_log)
        probes = stack.enter_context(ProbeServer(args.host, args.probe_port, serving.health, serving.page))
        log.event("probes", port=probes.port)
        return serving.run()


def _candidate(args: argparse.Namespace, log: Log) -> ServedVersion | None:
    """Return the version that sees live studies too.

    One that was promoted meanwhile is left out with a warning: a pod that starts anew must not end for it.
    """
    if args.shadow is None:
        return None
    candidate = find_candidate(args.repository, args.shadow)
    if candidate is None:
        log.event("the candidate serves, so that no shadow runs: leave --shadow out", "warning", version=args.shadow)
    return candidate


class _Serving:
    """One run of the command: the server, its health and its metrics."""

    def __init__(
        self,
        args: argparse.Namespace,
        checked: CheckedRepository,
        log: Log,
        profile: str | None,
        study_log: StudyLog | None,
    ) -> None:
        self.health, self._metrics = Health(), SupervisorMetrics()
        self._checked, self._log, self._profile = checked, log, profile
        self._watch = LoadWatch(log)
        self._limits = Limits(args.stage_timeout_s, args.stage_memory_limit_mib << 20)
        self._door = FrontDoor(args, log)
        self._study_log = study_log
        options = replace(_options(args, self._door), profile=profile)
        if study_log is not None:
            options = replace(
                options,
                study_log=study_log.folder,
                kept_inputs=study_log.kept_inputs,
                shadows=study_log.candidate is not None,
            )
        self._server = TritonServer(args.repository, options, self._watch)
        self._kept: KeptStudies | None = None

    def page(self) -> bytes:
        """Return all metrics as Prometheus' text."""
        return self._metrics.page(lambda: triton_page(self._server.metrics_url))

    def run(self) -> int:
        """Start, watch, drain and stop. Return the exit code."""
        log = self._log
        log.event("starting", repository=self._server.repository, classifier_version=self._checked.serving.version)
        code = 0
        try:
            self._start()
            server = self._server
            supervisor = Supervisor(server, self.health, self._metrics, log, self._limits)
            if server.tls is not None:
                tell_expiry(server.tls.not_after, log)
            tell_standing(server, log)
            self._metrics.serves(server)
            self._kept = keep_studies(server, self._study_log, self._metrics, log)
            gateway = self._door.open(server, STOP.first)
            log.event("ready", grpc=server.grpc_url, http=server.http_url, metrics=server.metrics_url, gateway=gateway)
            self.health.begin_serving()
            supervisor.watch(STOP.first, self._look)
            log.event("draining", timeout_s=server.options.drain_timeout_s)
        except GlioserveError as error:
            if error.code is ErrorCode.NOT_HEALED:
                log.event("draining what can be drained, then ending", "error", reason=error.detail)
                log.plain(str(error))
                code = EXIT_NOT_HEALED
            elif not STOP.first() or error.code is not ErrorCode.SERVER_FAILED:
                raise
        finally:
            self.health.phase = Phase.FAILED if code else Phase.DRAINING
            drained = self._server.stop(STOP.second, lambda: self._door.close(STOP.second))
            self._door.close(STOP.second)
            if self._kept is not None:
                self._kept.close()
        if not drained:
            log.event("studies in flight may have been cut off", "warning")
        log.event("stopped")
        return code

    def _start(self) -> None:
        try:
            self._server.start(STOP.first, self._check_cases)
        except GlioserveError:
            if self._profile != TENSORRT_PROFILE or self._watch.reason is None or STOP.first():
                raise
            # A plan that fits by its record may still not load: too little memory, say.
            tell_fallback(self._log, self._checked.serving, self._watch.reason)
            check_repository(self._server.repository, ONNX_PROFILE)
            options = replace(self._server.options, profile=ONNX_PROFILE)
            self._server = TritonServer(self._server.repository, options, self._log.server_line)
            self._server.start(STOP.first, self._check_cases)

    def _check_cases(self) -> None:
        """Raise GLIO-5117 where a loaded version does not give its reference case the expected score."""
        if all(served.manifest.recipe.reference_case is None for served in self._checked.versions):
            return
        server = self._server

        def give_up() -> bool:
            return STOP.first() or server.process.poll() is not None

        try:
            scores = server.cases.check(
                server.grpc_url, tls=server.channel_tls, give_up=give_up, parameters=server.own_parameters
            )
        except GlioserveError:
            if (code := server.process.poll()) is not None:
                raise server.failure(f"tritonserver ended by itself with code {code}") from None
            raise
        for version, score in scores.items():
            self._log.event("reference case answered", classifier_version=version, score=f"{score:.4f}")

    def _look(self) -> None:
        self.health.report("gateway", self._door.tend())
        if os.getpid() == 1:
            reap_orphans(self._server.process.guardian_pid, *self._door.guardian_pids)


def reap_orphans(*guardian_pids: int) -> None:
    """Reap what PID 1 inherits. A guardian's own end is left to the process object that waits for it."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in guardian_pids:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def _options(args: argparse.Namespace, door: FrontDoor) -> ServerOptions:
    token = {"admin_token": args.admin_token_file} if args.admin_token_file else {}
    return ServerOptions(
        profile=args.profile,
        tritonserver=args.tritonserver,
        host=args.host,
        **door.server_place,
        http=args.http,
        http_port=args.http_port,
        metrics_port=args.metrics_port,
        watches_studies=True,
        shared_memory_token=args.shared_memory_token_file,
        accept_identified_dicom=args.accept_identified_dicom,
        allow_known_cves=args.allow_known_cves,
        tls=server_tls_of(args),
        ready_timeout_s=args.ready_timeout_s,
        drain_timeout_s=args.drain_timeout_s,
        exit_timeout_s=args.exit_timeout_s,
        log_verbosity=args.log_verbosity,
        **telemetry_of(args),
        extra_flags=tuple(args.triton_flag),
        **token,
    )
