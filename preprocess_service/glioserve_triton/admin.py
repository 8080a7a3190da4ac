"""The calls that watch and steer a running server, over gRPC with the admin token; every one has a deadline."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType

from tritonclient.utils import InferenceServerException

from glioserve_triton.channel import ChannelTls, open_client
from glioserve_triton.process.options import GRPC_ADMIN_HEADER, GRPC_SHARED_MEMORY_HEADER
from glioserve_triton.reference_case import check_reference_case

CALL_TIMEOUT_S = 5.0
READY_TIMEOUT_S = 1.0
"""Time for one readiness call, in seconds; the call is repeated anyway."""
UNLOADED = ("UNAVAILABLE", "unloaded")
"""State and reason, in the repository's index, of a model whose last request is done."""
_GENERATION = "glioserve_generation"


class ServerAdmin:
    """A connection with the admin token. Calls raise ``InferenceServerException`` where they cannot be made."""

    def __init__(
        self, url: str, admin_token: str, tls: ChannelTls | None = None, shared_memory_token: str | None = None
    ) -> None:
        """``tls`` None: plain text, which is for a server of this machine or a trusted network."""
        self._client = open_client(url, tls)
        self._headers = {GRPC_ADMIN_HEADER: admin_token}
        if shared_memory_token is not None:
            self._headers[GRPC_SHARED_MEMORY_HEADER] = shared_memory_token

    def __enter__(self) -> ServerAdmin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def is_ready(self, model: str, server_id: str) -> bool:
        """Return whether the server has the model loaded; False where it cannot be reached, or another one answers.

        Triton binds its ports last, so until then another server may answer on them.
        """
        try:
            metadata = self._client.get_server_metadata(client_timeout=READY_TIMEOUT_S)
            ready: bool = self._client.is_model_ready(model, client_timeout=READY_TIMEOUT_S)
            return ready and metadata.name == server_id
        except InferenceServerException:
            return False

    def version(self) -> str:
        """Return the server's version as it states it (``2.75.0``)."""
        metadata = self._client.get_server_metadata(client_timeout=CALL_TIMEOUT_S)
        return str(metadata.version)

    def unload(self, model: str) -> None:
        """Take one model, not its steps, out of service: new requests are refused, those in flight go on."""
        self._client.unload_model(model, self._headers, unload_dependents=False, client_timeout=CALL_TIMEOUT_S)

    def load(self, model: str, timeout_s: float) -> None:
        """Have the model loaded as the repository now says; it returns when it is, or raises when it cannot be.

        What served before goes on serving until then, and after a failure.
        """
        self._client.load_model(model, self._headers, client_timeout=timeout_s)

    def reload(self, model: str, timeout_s: float) -> None:
        """Replace all processes of the model by new ones, with the same configuration and files.

        The new ones start before the old ones leave, so requests are answered throughout. Triton reloads only what has
        changed, and the repository may be read-only, so the changed thing is a parameter of the configuration.
        """
        answer = self._client.get_model_config(
            model, headers=self._headers, as_json=True, client_timeout=CALL_TIMEOUT_S
        )
        config = answer["config"]
        config.setdefault("parameters", {})[_GENERATION] = {"string_value": str(time.time_ns())}
        self._client.load_model(model, self._headers, config=json.dumps(config), client_timeout=timeout_s)

    def trace(self, model: str, rate: int) -> None:
        """Have one in ``rate`` requests to the model traced, beside those that carry a trace of their own.

        The setting is the model's alone, so that canaries, which ask its steps, make no traces.
        """
        settings = {"trace_rate": [str(rate)]}
        self._client.update_trace_settings(model, settings, headers=self._headers, client_timeout=CALL_TIMEOUT_S)

    def ready_versions(self, model: str) -> frozenset[int]:
        """Return the versions of the model that answer, by the repository's index."""
        index = self._client.get_model_repository_index(self._headers, client_timeout=CALL_TIMEOUT_S)
        return frozenset(int(e.version) for e in index.models if e.name == model and e.state == "READY")

    def executions(self, model: str) -> int:
        """Return how many batches the loaded versions of the model have executed since they were loaded."""
        statistics = self._client.get_inference_statistics(model, headers=self._headers, client_timeout=CALL_TIMEOUT_S)
        return sum(int(version.execution_count) for version in statistics.model_stats)

    def reference_case(self, version_folder: Path, version: str) -> float | None:
        """Return the score that the loaded version gives its reference case; None where it has none (GLIO-5117)."""
        return check_reference_case(self._client, version_folder, version)

    def shared_regions(self) -> list[str]:
        """Return the names of the regions of shared memory that callers have registered."""
        status = self._client.get_system_shared_memory_status(headers=self._headers, client_timeout=CALL_TIMEOUT_S)
        return list(status.regions)

    def forget_region(self, name: str) -> None:
        """Have a region unmapped; it raises where a request still reads it."""
        self._client.unregister_system_shared_memory(name, self._headers, client_timeout=CALL_TIMEOUT_S)

    def states(self, model: str) -> list[tuple[str, str]]:
        """Return state and reason of each version of the model in the repository's index."""
        index = self._client.get_model_repository_index(self._headers, client_timeout=CALL_TIMEOUT_S)
        return [(entry.state, entry.reason) for entry in index.models if entry.name == model]
