"""Full file systems, and versions of the model that are broken, wrong or new."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from tritonclient.utils import InferenceServerException

from chaos.deployment import Deployment
from chaos.faults.fault import ANSWERED, Fault, Others, Strike
from chaos.studies import phantom_of
from glioserve_client import GliomaClient
from glioserve_contract import GlioserveError
from glioserve_contract.records.recipe import Recipe, ReferenceCase
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE, score_of
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.files import file_digest
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_registry.demo_model import demo_model_dir
from glioserve_registry.layout.repository import add_version, assemble
from glioserve_registry.promoting.live_server import TritonLive, canary_study
from glioserve_registry.promoting.promotion import promote
from glioserve_registry.recipe_override import with_changed_recipe
from glioserve_triton.admin import ServerAdmin
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest, save_manifest

LOAD_TIMEOUT_S = 60.0


def fill(folder: Callable[[Deployment], Path]) -> Strike:
    """Fill a file system to its last block."""

    @contextmanager
    def strike(deployment: Deployment) -> Iterator[Others]:
        file = folder(deployment) / "full"
        with suppress(OSError), file.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"\0" * (1 << 20))
        yield Others()
        file.unlink(missing_ok=True)

    return strike


def repository_with_case(folder: Path) -> Path:
    """Return a repository that serves the demo model with a reference case, which it is asked at every load."""
    exported, repository = folder / "exported", folder / "repository"
    shutil.copytree(demo_model_dir(), exported)
    manifest = load_manifest(exported)
    files = dicom_files(phantom_of(7), identified=False)
    image = preprocess_dicom(files, manifest.recipe, accept_identified=False).image
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["LOGITS"], {"IMAGE": image[np.newaxis]})
    np.savez_compressed(exported / REFERENCE_CASE_FILE, image=image)
    digest = file_digest(exported / REFERENCE_CASE_FILE)
    case = ReferenceCase(digest, round(score_of(logits[0].tolist(), manifest.recipe), 4))
    save_manifest(replace(manifest, files={**manifest.files, REFERENCE_CASE_FILE: digest}), exported)
    with_changed_recipe(exported, folder / "with case", lambda recipe: replace(recipe, reference_case=case))
    assemble(repository)
    add_version(repository, folder / "with case")
    return repository


@contextmanager
def version_without_a_graph(deployment: Deployment) -> Iterator[Others]:
    """Put a classifier version whose file is not a graph into the repository and ask for it to be loaded."""
    classifier = deployment.repository / "classifier"
    good = max(int(v.name) for v in classifier.iterdir() if v.name.isdecimal())
    bad = classifier / str(good + 1)
    shutil.copytree(classifier / str(good), bad)
    (bad / "model.onnx").write_bytes(b"no graph")
    config = classifier / "config.pbtxt"
    before = config.read_text()
    config.write_text(before.replace(f"versions: [{good}]", f"versions: [{good + 1}]"))
    others = Others()
    try:
        with ServerAdmin(deployment.server_url, deployment.admin_token) as admin:
            admin.load("classifier", LOAD_TIMEOUT_S)
            others["loaded"] += 1
    except InferenceServerException:
        others["refused"] += 1
    yield others
    config.write_text(before)
    shutil.rmtree(bad)


def promoted(change: Callable[[Recipe], Recipe], back: bool = False) -> Strike:
    """Promote the serving version with a changed recipe, on the live server; afterwards the version before again."""

    @contextmanager
    def strike(deployment: Deployment) -> Iterator[Others]:
        repository, others = deployment.repository, Others()
        before = serving_version(repository)
        assert before is not None
        made = deployment.folder / f"changed {before} {len(list(deployment.folder.iterdir()))}"
        with_changed_recipe(repository / "classifier" / str(before), made, change)
        version = add_version(repository, made)
        live = TritonLive(
            deployment.server_url, deployment.admin_token, repository, canary_study(None), timeout_s=LOAD_TIMEOUT_S
        )
        with live:
            others[_outcome(lambda: promote(repository, version, [live]))] += 1
            yield others
            if back:
                others[_outcome(lambda: promote(repository, int(before), [live]))] += 1

    return strike


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except GlioserveError as error:
        return error.token
    return "promoted"


@contextmanager
def expired_certificate(deployment: Deployment) -> Iterator[Others]:
    """Rename an expired certificate into place: who is connected stays so, who connects is told, until a good one."""
    others = Others()
    deployment.entrance.install_certificate(days=(-2, -1))
    deployment.wait_for(lambda: _newcomer(deployment) != ANSWERED, 10.0)
    others[_newcomer(deployment)] += 1
    yield others
    deployment.entrance.install_certificate()
    deployment.wait_for(lambda: _newcomer(deployment) == ANSWERED, 10.0)
    others[_newcomer(deployment)] += 1


def _newcomer(deployment: Deployment) -> str:
    client: GliomaClient
    with deployment.entrance.client() as client:
        try:
            client.wait_until_ready(5.0)
        except GlioserveError as error:
            return error.token
    return ANSWERED


def _classes_swapped(recipe: Recipe) -> Recipe:
    first, second = recipe.classes
    return replace(recipe, classes=(second, first))


FILE_FAULTS = (
    Fault("/dev/shm full for 5 s", fill(Deployment.shared_memory), lasts_s=5.0),
    Fault("the temporary folder full for 5 s", fill(Deployment.temporary), lasts_s=5.0),
    Fault("a version whose file is not a graph is loaded", version_without_a_graph, others=frozenset({"refused"})),
    Fault("a version with swapped classes is promoted", promoted(_classes_swapped), others=frozenset({"GLIO-5123"})),
    Fault(
        "another version is promoted, and the one before again",
        promoted(lambda recipe: replace(recipe, threshold=0.6), back=True),
        others=frozenset({"promoted"}),
    ),
    Fault(
        "the gateway's certificate has expired for 3 s",
        expired_certificate,
        lasts_s=3.0,
        others=frozenset({"GLIO-4108", ANSWERED}),
    ),
)
