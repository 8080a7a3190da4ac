"""The reference case at load: the classifier that a server really runs must give it the expected score.

Parity was shown where the version was exported. Here the same study goes through the backend, the precision and the
plan that serve, before a patient's does. It asks by inference, so no admin token is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import Manifest, digest_of_model_id
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.reference_case import (
    CHANNELS_ARRAY,
    IMAGE_ARRAY,
    REFERENCE_CASE_FILE,
    check_score,
    recipe_order,
    served_tolerance,
)
from glioserve_contract.tensors import CLASSIFIER_MODEL, IMAGE, LOGITS, MODEL_ID
from glioserve_triton.channel import ChannelTls, open_client
from glioserve_triton.served.versions import digest_of, load_manifest
from glioserve_triton.waiting import StopCheck, never

TIMEOUT_S = 120.0
"""Time for one answer; the largest network takes ten seconds on one core, a plan's first run may take longer."""
_CALL_TIMEOUT_S = 5.0
_POLL_S = 0.05
_NETWORK_FILES = (".onnx", ".data", ".plan", ".xml", ".bin")
"""Endings of the files that backends load a network from."""

Unread = Callable[[str, GlioserveError], None]
"""Function that is called with a version whose files cannot be read, and the reason."""


def check_reference_case(
    server: triton.InferenceServerClient | str,
    version_folder: Path,
    version: str,
    *,
    give_up: StopCheck = never,
    timeout_s: float = TIMEOUT_S,
    parameters: Mapping[str, str] | None = None,
) -> float | None:
    """Return the score that the served ``version`` gives the case of ``version_folder``; None without a case.

    ``server`` is a client, or ``host:port`` of a server in plain text; ``parameters`` go with the
    request. GLIO-5117 where the answer is another, comes from another network, or does not come in ``timeout_s``;
    GLIO-5103 where the folder's files are not its manifest's; GLIO-5111 where ``give_up`` said so.
    """
    case = _read(version_folder)
    opened = open_client(server) if isinstance(server, str) else nullcontext(server)
    with opened as client:
        return _answered(client, case, version, time.monotonic() + timeout_s, give_up, parameters)


class ServedCases:
    """Reference cases of a repository's versions, each kept from its first reading on.

    What happens to the files later says nothing about what a server has loaded from them.
    """

    def __init__(self, classifier: Path) -> None:
        """Take the folder of the versions; nothing is read yet."""
        self._classifier = classifier
        self._kept: dict[str, _Case] = {}

    def check(
        self,
        url: str,
        *,
        tls: ChannelTls | None = None,
        give_up: StopCheck = never,
        parameters: Mapping[str, str] | None = None,
        unread: Unread | None = None,
    ) -> dict[str, float]:
        """Return the score that each loaded version gives its case, by version, of those that have one.

        ``unread`` is called with a version whose files cannot be read, which then is not asked; without it the error
        is raised.

        Raises:
            GlioserveError: GLIO-5117, -5103 and -5111 as in :func:`check_reference_case`.
        """
        scores: dict[str, float] = {}
        with open_client(url, tls) as client:
            loaded = _loaded(client)
            self._kept = {version: case for version, case in self._kept.items() if version in loaded}
            for version in loaded:
                try:
                    case = self._kept.get(version) or _read(self._classifier / version)
                except GlioserveError as error:
                    if unread is None:
                        raise
                    unread(version, error)
                    continue
                self._kept[version] = case
                score = self._score(client, case, version, give_up, parameters)
                if score is not None:
                    scores[version] = score
        return scores

    def verify_networks(self) -> None:
        """Hold the networks of the loaded versions to their manifests, which tell a swapped file where no case does.

        Raises:
            GlioserveError: GLIO-5103 where a network's file is not the one that its version was published with.
        """
        for version, case in self._kept.items():
            for name, digest in case.manifest.files.items():
                if name.endswith(_NETWORK_FILES) and digest_of(self._classifier / version / name) != digest:
                    raise GlioserveError(
                        ErrorCode.INVALID_MANIFEST, f"{name} of version {version} is not the file the manifest names."
                    )

    def _score(
        self,
        client: triton.InferenceServerClient,
        case: _Case,
        version: str,
        give_up: StopCheck,
        parameters: Mapping[str, str] | None,
    ) -> float | None:
        try:
            return _answered(client, case, version, time.monotonic() + TIMEOUT_S, give_up, parameters)
        except GlioserveError as error:
            if error.code is not ErrorCode.REFERENCE_CASE_FAILED:
                raise
            try:  # another version may have the number by now, whole, and be loaded as such
                other = _read(self._classifier / version, verify_files=True)
            except GlioserveError:
                raise error from None
            score = _answered(client, other, version, time.monotonic() + TIMEOUT_S, give_up, parameters)
            self._kept[version] = other
            return score


@dataclass(frozen=True)
class _Case:
    manifest: Manifest
    image: npt.NDArray[np.float32] | None
    """[1, C, D, H, W], channels in the recipe's order; None where the recipe has no case."""


def _read(folder: Path, *, verify_files: bool = False) -> _Case:
    manifest = load_manifest(folder, verify_files=verify_files)
    return _Case(manifest, None if manifest.recipe.reference_case is None else _image(folder, manifest.recipe))


def _answered(
    client: triton.InferenceServerClient,
    case: _Case,
    version: str,
    deadline: float,
    give_up: StopCheck,
    parameters: Mapping[str, str] | None,
) -> float | None:
    if case.image is None:
        return None
    logits, model_id = _ask(client, case.image, version, deadline, give_up, parameters)
    _check_identity(model_id, case.manifest, version)
    recipe = case.manifest.recipe
    return check_score(logits, recipe, f"version {version} as it is served", served_tolerance(recipe))


def _loaded(client: triton.InferenceServerClient) -> tuple[str, ...]:
    try:
        metadata = client.get_model_metadata(CLASSIFIER_MODEL.name, client_timeout=_CALL_TIMEOUT_S)
    except InferenceServerException as error:
        raise _failed(f"The server does not report which versions it has loaded: {error.message()}.") from error
    return tuple(metadata.versions)


def _image(folder: Path, recipe: Recipe) -> npt.NDArray[np.float32]:
    """[1, C, D, H, W], channels in the recipe's order."""
    file = folder / REFERENCE_CASE_FILE
    assert recipe.reference_case is not None
    if digest_of(file) != recipe.reference_case.digest:
        raise GlioserveError(
            ErrorCode.INVALID_MANIFEST, f"{REFERENCE_CASE_FILE} of version {folder.name} is not the recipe's."
        )
    try:
        with np.load(file, allow_pickle=False) as arrays:
            image = arrays[IMAGE_ARRAY]
            channels = [str(c) for c in arrays[CHANNELS_ARRAY]] if CHANNELS_ARRAY in arrays else None
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"{REFERENCE_CASE_FILE} cannot be read: {error}.") from error
    ordered = image if channels is None else image[list(recipe_order(channels, recipe))]
    return np.ascontiguousarray(ordered[None], dtype=np.float32)


def _ask(
    client: triton.InferenceServerClient,
    image: npt.NDArray[np.float32],
    version: str,
    deadline: float,
    give_up: StopCheck,
    parameters: Mapping[str, str] | None,
) -> tuple[list[float], tuple[int, ...]]:
    """Logits and MODEL_ID. The call is watched, so that neither a stuck server nor a signal is waited out."""
    tensor = triton.InferInput(IMAGE.name, list(image.shape), IMAGE.dtype)
    tensor.set_data_from_numpy(image)
    wanted = [triton.InferRequestedOutput(name) for name in (LOGITS.name, MODEL_ID.name)]
    done = Event()
    results: list[triton.InferResult] = []
    errors: list[InferenceServerException] = []

    def receive(result: triton.InferResult | None, error: InferenceServerException | None) -> None:
        if error is None:
            results.append(result)
        else:
            errors.append(error)
        done.set()

    call = client.async_infer(
        CLASSIFIER_MODEL.name,
        [tensor],
        receive,
        model_version=version,
        outputs=wanted,
        parameters=None if parameters is None else dict(parameters),
        client_timeout=max(0.0, deadline - time.monotonic()),
    )
    while not done.wait(_POLL_S):
        if give_up():
            call.cancel()
            raise GlioserveError(ErrorCode.SERVER_FAILED, "Stopped before the reference case was answered.")
        if time.monotonic() > deadline + _CALL_TIMEOUT_S:  # gRPC's own deadline has passed long since
            call.cancel()
            raise _failed(f"Version {version} does not answer the reference case.")
    if errors:
        raise _failed(f"Version {version} does not answer the reference case: {errors[0].message()}.")
    logits, model_id = (results[0].as_numpy(name) for name in (LOGITS.name, MODEL_ID.name))
    if logits is None or model_id is None or len(logits) != 1 or len(model_id) != 1:
        raise _failed(f"Version {version} answers the reference case without {LOGITS.name} and {MODEL_ID.name}.")
    return [float(value) for value in logits[0]], tuple(int(word) for word in model_id[0])


def _check_identity(model_id: tuple[int, ...], manifest: Manifest, version: str) -> None:
    found = digest_of_model_id(model_id) if (len(model_id),) == MODEL_ID.shape else "no digest"
    if found != manifest.weights_digest:
        raise _failed(
            f"Version {version} is answered by weights {found}, not by its manifest's {manifest.weights_digest}."
        )


def _failed(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.REFERENCE_CASE_FAILED, detail)
