"""A running server as a promotion sees it: steered by the admin token, asked by the client with a canary study."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tritonclient.utils import InferenceServerException

from glioserve_client import GliomaClient, TlsOptions
from glioserve_client.study import DicomStudy, Study
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.promotion import CanaryRecord
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.admin import ServerAdmin
from glioserve_triton.channel import ChannelTls

CANARY_SEED = 7
_RESTRICTED = "restricted"
"""Word in Triton's refusal of a call without the right token."""
_SERVER_PATH = re.compile(r"(?:/[^\s/:'\",]+){2,}/?")


class TritonLive:
    """The server at one gRPC address; see :class:`glioserve_registry.promoting.promotion.LiveServer`."""

    def __init__(
        self,
        url: str,
        admin_token: str,
        repository: Path,
        study: Study,
        *,
        timeout_s: float,
        tls: TlsOptions | None = None,
    ) -> None:
        """Connect; ``repository`` is what the server serves, ``timeout_s`` bounds the canary study's answer."""
        self._url = url
        self._classifier = repository / CLASSIFIER_MODEL.name
        self._study = study
        admin_tls = None
        if tls is not None:
            tls.check_files()
            admin_tls = ChannelTls(*tls.pem, tls.server_name)
        self._admin = ServerAdmin(url, admin_token, admin_tls)
        self._client = GliomaClient(url, timeout_s=timeout_s, tls=tls)

    def __enter__(self) -> TritonLive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._admin.__exit__(kind, error, trace)

    @property
    def name(self) -> str:
        """Its address."""
        return self._url

    def ready_versions(self) -> frozenset[int]:
        """Return the versions that are ready by the server's own index; GLIO-4106 where the token is not its own."""
        with self._told("report which versions are ready"):
            return self._admin.ready_versions(CLASSIFIER_MODEL.name)

    def load(self, timeout_s: float) -> None:
        """Return when the classifier is loaded; GLIO-5111 where it cannot be, whereupon the one before serves."""
        with self._told("load the classifier"):
            self._admin.load(CLASSIFIER_MODEL.name, timeout_s)

    def canary(self, served: ServedVersion) -> CanaryRecord:
        """Send the version's reference case, where it has one, to the classifier and the study to the ensemble.

        GLIO-5117 for another score of the case, GLIO-4105 where another version answered the study than the one that
        is to serve. That the study's score is finite and fits its label, the client itself checks.
        """
        case = self._admin.reference_case(self._classifier / served.version, served.version)
        prediction = self._client.predict(self._study, heatmap=False)
        model = prediction.model
        if (model.version, model.digest) != (served.version, served.manifest.weights_digest):
            raise GlioserveError(
                ErrorCode.UNEXPECTED_ANSWER,
                f"Version {model.version} (weights {model.digest[:19]}…) answered the canary study, not version "
                f"{served.version} (weights {served.manifest.weights_digest[:19]}…). Is it this repository that the "
                "server serves?",
            )
        label = str(prediction.label) if prediction.label else "abstained"
        return CanaryRecord(model.version, prediction.score, label, case)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            text = " ".join(str(error.message()).split())
            if _RESTRICTED in text:
                raise GlioserveError(
                    ErrorCode.REQUEST_REFUSED,
                    f"{self._url} refuses to {what}: the admin token is not the one that it was started with.",
                    "Name the file of the server's own admin token (--admin-token-file).",
                ) from error
            status = str(error.status() or "").rpartition(".")[2]
            code = ErrorCode.UNAVAILABLE if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else ErrorCode.SERVER_FAILED
            reason = _SERVER_PATH.sub("…", text)[:300]
            raise GlioserveError(code, f"{self._url} does not {what}: {status}: {reason}.") from error


def canary_study(folder: Path | None) -> Study:
    """Return the study in ``folder``; else a phantom, where the package that draws it is installed (GLIO-1103)."""
    if folder is not None:
        return DicomStudy.from_directory(folder)
    try:
        from glioserve_phantom import make_phantom
        from glioserve_phantom.dicom import dicom_files
    except ModuleNotFoundError as error:
        raise GlioserveError(
            ErrorCode.EMPTY_STUDY,
            f"A phantom for the canary study cannot be made: the package {error.name!r} is not installed.",
            f"Name a folder with a DICOM study (--canary DIR), or install the extra: {install_advice('preprocess')}.",
        ) from error
    return DicomStudy.from_bytes(dicom_files(make_phantom(CANARY_SEED, "recurrence"), identified=False))
