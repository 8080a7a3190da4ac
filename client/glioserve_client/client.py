"""The gRPC client: one call from a study to a typed answer, always under a deadline."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from glioserve_client.options import ConnectionOptions, RetryPolicy, TlsOptions, check_headers, check_url
from glioserve_client.prediction import Prediction
from glioserve_client.reachability import connection_fault
from glioserve_client.request import Request, encode
from glioserve_client.status import error_from_status, is_unknown_model
from glioserve_client.study import Study
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_contract.tensors import DEADLINE_PARAMETER, ENSEMBLE, HEATMAP, HEATMAP_AFFINE, HEATMAP_PARAMETER

RETRIED = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.NOT_SERVED, ErrorCode.STAGE_LOST, ErrorCode.TOO_MANY_STUDIES})
"""Codes that another attempt may cure: no server, a full queue, a server that drains or that lost a process, a
gateway's rate."""
MOST_LOST = 2
"""Attempts that may each lose a process of the server: a study that ends every process must not end them all."""
PROBE_TIMEOUT_S = 5.0
_LOG = logging.getLogger("glioserve_client")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class GliomaClient:
    """A glioserve server at ``url``; use it as a context manager, or :meth:`close` it.

    One client serves any number of threads; keep it, a connection is worth reusing. It does not survive a fork:
    make one per process.

    Args:
        url: gRPC target, ``host:port`` or ``dns:///host:port``.
        timeout_s: deadline of a call, all its attempts included. There is always one.
        tls: None for plain text, which only a trusted network may carry.
        retry: number of attempts, and the pauses between them, where no server could take the study.
        model_name: the ensemble.
        identified: send DICOM as it is, names and all. The server's operator must have allowed it.
        headers: gRPC metadata of every call (``authorization``, ``traceparent``).
        connection: the channel.

    Raises:
        ValueError: an argument is malformed.
        InvalidTlsError: a TLS file cannot be read or used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: TlsOptions | None = None,
        retry: RetryPolicy | None = None,
        model_name: str = ENSEMBLE.name,
        identified: bool = False,
        headers: Mapping[str, str] | None = None,
        connection: ConnectionOptions | None = None,
    ) -> None:
        self.url = check_url(url)
        self.model_name = model_name
        self.identified = identified
        self.timeout_s = _positive(timeout_s)
        self._retry = retry or RetryPolicy()
        self._headers = check_headers(headers or {})
        self._process = os.getpid()
        self._closed = False
        self._tls = tls
        self._clocks_agree = True
        """False once the server dropped a request whose deadline had not passed by this machine's clock."""
        if tls is not None:
            tls.check_files()  # InferenceServerClient would leave half an object behind
        self._triton = InferenceServerClient(
            self.url,
            ssl=tls is not None,
            root_certificates=_text(tls.root_certificates) if tls else None,
            private_key=_text(tls.private_key) if tls else None,
            certificate_chain=_text(tls.certificate_chain) if tls else None,
            channel_args=(connection or ConnectionOptions()).channel_arguments(tls),
        )

    def predict(
        self,
        study: Study,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        heatmap: bool = True,
        series: Mapping[Modality, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Send ``study`` and return the answer.

        Args:
            study: DICOM files or volumes.
            timeout_s: this call's deadline instead of the client's: one budget for de-identification, all
                attempts and the pauses between them.
            request_id: shows up in the server's logs and traces, so never patient data; random by default.
            heatmap: False spares the server the heat map and the network its voxels.
            series: which series of a DICOM study stands for a sequence, where headers cannot tell or are wrong:
                its own SeriesInstanceUID, or ``UID#part`` for one stack of it (a report names parts).
            headers: more gRPC metadata for this call.

        Returns:
            The answer, checked against the contract and against itself.

        Raises:
            GlioserveError: the leaf of :mod:`glioserve_client.errors` that fits, with ``request_id`` and ``attempts``.
            ValueError: an argument is malformed.
        """
        self._check_usable()
        if not isinstance(heatmap, bool):
            raise ValueError("heatmap must be True or False")
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else _positive(timeout_s))
        identifier = _checked_request_id(request_id)
        metadata = {**self._headers, **check_headers(headers or {})}
        started = time.monotonic()
        request = encode(study, identified=self.identified, series=series)
        encoded = time.monotonic()
        names = [t.name for t in ENSEMBLE.outputs if heatmap or t not in (HEATMAP, HEATMAP_AFFINE)]
        attempts = lost = 0
        try:
            while True:
                attempts += 1
                try:
                    outputs = self._attempt(request, names, identifier, metadata, deadline)
                    break
                except GlioserveError as error:
                    if error.code is ErrorCode.DEADLINE_PASSED and self._clocks_agree:
                        self._clocks_agree = False  # this call's deadline has not passed, or gRPC would have said so
                        _LOG.warning("the server's clock is ahead of this one; deadlines are not stated any more")
                        continue
                    pause_s = self._retry.pause_s(attempts)
                    lost += error.code is ErrorCode.STAGE_LOST
                    last = attempts >= self._retry.max_attempts or time.monotonic() + pause_s >= deadline
                    last = last or lost > MOST_LOST
                    if last or error.code not in RETRIED:
                        raise
                    _LOG.info("request %s, attempt %d: %s; again in %.1f s", identifier, attempts, error.token, pause_s)
                    time.sleep(pause_s)
            return Prediction.from_outputs(
                outputs,
                heatmap=heatmap,
                request_id=identifier,
                attempts=attempts,
                client_warnings=request.warnings,
                client_timings_s={"prepare": encoded - started, "call": time.monotonic() - encoded},
                original_series_uids=request.original_series_uids,
            )
        except GlioserveError as error:
            error.request_id, error.attempts = identifier, attempts
            raise

    def is_ready(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Return whether the server can be reached and serves the model now."""
        return self._probe(_positive(timeout_s)) is None

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until :meth:`is_ready`.

        Args:
            timeout_s: longest time to wait.

        Raises:
            UnavailableError: the model was not ready in time; the message has the last reason.
            GlioserveError: a refusal that waiting does not change, such as missing credentials (GLIO-4106).
            ValueError: ``timeout_s`` is not a positive number.
        """
        deadline = time.monotonic() + _positive(timeout_s)
        pause_s = 0.05
        while True:
            remaining_s = max(deadline - time.monotonic(), 0.01)
            problem = self._probe(min(PROBE_TIMEOUT_S, remaining_s))
            if problem is None:
                return
            if time.monotonic() + pause_s >= deadline:
                if not problem.retryable:
                    raise problem
                detail = f"The model is not ready after {timeout_s:g} s: {problem.detail}"
                raise GlioserveError(ErrorCode.UNAVAILABLE, detail) from problem
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._triton.close()

    def __enter__(self) -> GliomaClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GliomaClient({self.url!r}, model_name={self.model_name!r}, timeout_s={self.timeout_s:g})"

    def _attempt(
        self, request: Request, names: list[str], request_id: str, headers: dict[str, str], deadline: float
    ) -> dict[str, npt.NDArray[Any]]:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise GlioserveError(ErrorCode.DEADLINE_EXCEEDED, "The deadline passed before the study could be sent.")
        try:
            result = self._triton.infer(
                self.model_name,
                list(request.inputs),
                outputs=[InferRequestedOutput(name) for name in names],
                request_id=request_id,
                parameters=self._parameters(request, names, remaining_s) or None,
                timeout=max(1, int(remaining_s * 1e6)),  # microseconds; queues that honour it drop a late request
                client_timeout=remaining_s,
                headers=headers,
            )
        except InferenceServerException as error:
            raise self._failure(error) from error
        return _arrays(result, names)

    def _parameters(self, request: Request, names: list[str], remaining_s: float) -> dict[str, str | int | bool]:
        """Return the request parameters of one attempt."""
        parameters: dict[str, str | int | bool] = dict(request.parameters)
        if HEATMAP.name not in names:
            parameters[HEATMAP_PARAMETER] = False
        if self._clocks_agree:
            parameters[DEADLINE_PARAMETER] = int((time.time() + remaining_s) * 1000)
        return parameters

    def _probe(self, timeout_s: float) -> GlioserveError | None:
        """Return what keeps the server from being ready, or None."""
        self._check_usable()
        try:
            if self._triton.is_model_ready(self.model_name, headers=self._headers, client_timeout=timeout_s):
                return None
            if self.model_name != ENSEMBLE.name:
                # Of a model that is not ready only its metadata tells whether the server has ever heard of it.
                self._triton.get_model_metadata(self.model_name, headers=self._headers, client_timeout=timeout_s)
        except InferenceServerException as error:
            return self._failure(error)
        return GlioserveError(ErrorCode.NOT_SERVED)

    def _failure(self, error: InferenceServerException) -> GlioserveError:
        """Return the typed error of a failed call, and what is wrong with the connection where waiting cannot help."""
        failure = error_from_status(error.status(), error.message())
        if failure.code is ErrorCode.UNAVAILABLE:
            return connection_fault(self.url, self._tls, failure.detail) or failure
        if failure.code is ErrorCode.NOT_SERVED and self.model_name != ENSEMBLE.name and is_unknown_model(failure):
            return GlioserveError(
                ErrorCode.REQUEST_REFUSED,
                f"The server has no model {self.model_name!r}.",
                f"Correct the model's name; glioserve's own is {ENSEMBLE.name!r}.",
            )
        return failure

    def _check_usable(self) -> None:
        if self._closed:
            raise RuntimeError("this GliomaClient is closed")
        if os.getpid() != self._process:
            raise RuntimeError("a GliomaClient does not survive a fork: make one in each process")


def _arrays(result: Any, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs that are there, by name; a missing one is judged with the rest of the answer."""
    arrays = {}
    for name in names:
        try:
            array = result.as_numpy(name)
        except Exception as error:  # struct, numpy and tritonclient each have their own for a broken tensor
            raise GlioserveError(
                ErrorCode.UNEXPECTED_ANSWER, f"The answer is malformed: {name} has no values."
            ) from error
        if array is not None:
            arrays[name] = np.asarray(array)
    return arrays


def _positive(timeout_s: float) -> float:
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise ValueError("timeout_s must be a positive number of seconds")
    return float(timeout_s)


def _checked_request_id(request_id: str | None) -> str:
    if request_id is None:
        return secrets.token_hex(16)
    if _REQUEST_ID.fullmatch(request_id) is None:
        raise ValueError("request_id must be 1 to 64 letters, digits, '.', '_' or '-'")
    return request_id


def _text(path: object) -> str | None:
    return None if path is None else str(path)
