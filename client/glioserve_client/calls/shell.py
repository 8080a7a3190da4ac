"""Parts that both clients share: their arguments, what they tell of themselves, and whether they can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_client.calls.attempts import Attempts
from glioserve_client.calls.settings import Settings
from glioserve_client.calls.stop import Stop
from glioserve_client.connect.transport import GrpcTransport, Transport
from glioserve_client.options import ConnectionOptions, RetryPolicy, TlsOptions
from glioserve_client.request import Request, encode
from glioserve_client.shared_memory.regions import Regions
from glioserve_client.study import Study
from glioserve_client.telemetry.counts import counts_in
from glioserve_contract import Modality
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_contract.tensors import ENSEMBLE

if TYPE_CHECKING:
    from glioserve_client.telemetry.counts import CollectorRegistry


class Shell:
    """Arguments and state of a client; the calls are its subclasses'. ``GliomaClient`` explains the arguments."""

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
        token: Callable[[], str] | None = None,
        transport: Transport | None = None,
        shared_memory: Path | None = None,
        caller: str | None = None,
        metrics: CollectorRegistry | None = None,
    ) -> None:
        self._settings = Settings(
            url, timeout_s, tls, RetryPolicy() if retry is None else retry, model_name, identified,
            {} if headers is None else headers,
            ConnectionOptions() if connection is None else connection, token, caller,
            None if metrics is None else counts_in(metrics),
        )  # fmt: skip
        self._transport = transport or GrpcTransport()
        self._regions: Regions | None = None
        if shared_memory is not None:
            self._regions = Regions(self._settings, self._transport, Path(shared_memory))
        self._closed = False
        self._under_way: set[Stop] = set()
        self._begin()

    def _begin(self) -> None:
        """Prepare the calls, once the arguments are checked."""

    @property
    def url(self) -> str:
        """GRPC target."""
        return self._settings.url

    @property
    def model_name(self) -> str:
        """Name of the ensemble."""
        return self._settings.model_name

    @property
    def timeout_s(self) -> float:
        """Deadline of a call that names none."""
        return self._settings.timeout_s

    @property
    def identified(self) -> bool:
        """True where DICOM is sent as it is."""
        return self._settings.identified

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, model_name={self.model_name!r}, timeout_s={self.timeout_s:g})"

    def __reduce__(self) -> tuple[object, ...]:
        """Raise TypeError: a connection belongs to its process."""
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: make one in each process")

    def _encoded(self, study: Study, series: Mapping[Modality, str] | None, attempts: Attempts, stop: Stop) -> Request:
        """De-identify and encode the study; a stop or the deadline ends it."""

        def check() -> None:
            stop.check()
            attempts.check()

        spans = attempts.telemetry.spans
        with spans.stage("encode"):
            return encode(study, identified=self.identified, series=series, check=check, stage=spans.stage)

    def _check_usable(self) -> None:
        if self._closed:
            raise self._closed_error()
        self._settings.check_process(type(self).__name__)

    def _closed_error(self) -> RuntimeError:
        return RuntimeError(f"this {type(self).__name__} is closed")
