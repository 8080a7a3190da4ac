"""A server as a promotion sees it, without a server: it loads what the configuration on disk says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.promotion import CanaryRecord


class StandInServer:
    """``fails`` are versions that do not load, ``mute`` those that load and do not answer the canary."""

    def __init__(self, repository: Path, name: str = "one:8001", profile: str = "onnxruntime-cpu") -> None:
        self._config = repository / "classifier" / "configs" / f"{profile}.pbtxt"
        self.name = name
        self.loaded = self._wanted()
        self.fails: set[int] = set()
        self.mute: set[int] = set()
        self.closed_to_this_token = False
        self.deaf = False
        self.log: list[str] = []
        self.before_load: Callable[[], None] = lambda: None

    def ready_versions(self) -> frozenset[int]:
        if self.closed_to_this_token:
            raise GlioserveError(ErrorCode.REQUEST_REFUSED, "The admin token is another.")
        return frozenset({self.loaded})

    def load(self, timeout_s: float) -> None:
        self.before_load()
        wanted = self._wanted()
        self.log.append(f"load {wanted}")
        if wanted in self.fails:
            raise GlioserveError(ErrorCode.SERVER_FAILED, f"Version {wanted} cannot be loaded.")
        if not self.deaf:
            self.loaded = wanted

    def canary(self, served: ServedVersion) -> CanaryRecord:
        self.log.append(f"canary {self.loaded}")
        if self.loaded in self.mute:
            raise GlioserveError(ErrorCode.INVALID_MODEL_OUTPUT, "Not finite.")
        assert str(self.loaded) == served.version
        return CanaryRecord(served.version, 0.5, "recurrence")

    def _wanted(self) -> int:
        config = text_format.Parse(self._config.read_text(), model_config_pb2.ModelConfig())
        (version,) = config.version_policy.specific.versions
        return int(version)
