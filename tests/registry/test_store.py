"""Remote stores: the same suite over a folder, memory and a real S3 protocol; versions whole or not there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.reports.report import read_summary
from glioserve_registry.layout.listing import list_store
from glioserve_registry.layout.repository import add_version, versions
from glioserve_registry.layout.serving import classifier_folder, version_folder
from glioserve_registry.layout.verify import verify
from glioserve_registry.publishing.publication import Terms
from glioserve_registry.store import (
    CLAIM_FILE,
    Store,
    fetch,
    is_url,
    publish_to,
    verify_store,
)
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest
from support.models.promotable import promotable
from support.models.recipes import fake_export, tiny_recipe
from support.results.evaluations import write_evaluation

KEY, SECRET = "AKIAGLIOSERVETEST", "a-secret-key-that-no-message-may-show"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server on the loopback."""
    moto = pytest.importorskip("moto.server", reason="the S3 server of the tests is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(params=["file", "memory", pytest.param("s3", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store's URL; S3's address and credentials are where AWS's own tools look for them."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}/store"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"models-{uuid.uuid4()}"
    files(Store(f"s3://{bucket}")).mkdir(bucket)
    return f"s3://{bucket}/glioserve"


@pytest.fixture
def store(url: str) -> Store:
    return Store(url)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return promotable(tmp_path / "exported", 1.0)


def files(store: Store) -> Any:
    """Behind the store's back."""
    return store._fs


def path_of(store: Store, version: int, name: str) -> str:
    return store._path(version, name)


class Interrupted:
    """A file system whose uploads end after some files."""

    def __init__(self, real: Any, after: int, how: Exception) -> None:
        self._real, self._left, self._how = real, after, how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def put_file(self, *arguments: Any, **options: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._how
        self._real.put_file(*arguments, **options)


# Publish, list, fetch, verify


def test_what_is_published_is_fetched_as_it_is(store: Store, source: Path, tmp_path: Path) -> None:
    assert store.versions() == ()
    assert [publish_to(store, source) for _ in range(2)] == [1, 2]
    assert publish_to(store, source, 12) == 12
    assert store.versions() == (1, 2, 12)
    repository = tmp_path / "repository"
    assert fetch(store, 2, repository) == 2
    assert (versions(repository), serving_version(repository)) == ((2,), 2)
    there = {p.name: p.read_bytes() for p in version_folder(repository, 2).iterdir()}
    assert there == {name: files(store).cat_file(path_of(store, 2, name)) for name in there}
    assert {"manifest.json", "model.onnx", "recipe.json", "model_card.md", "model_card.html"} == set(there)
    assert load_manifest(version_folder(repository, 2), verify_files=True) == store.manifest(2)
    assert verify(repository).problems == ()
    assert verify_store(store).problems == ()
    assert verify_store(store).files == 12


def test_a_fetched_version_waits_where_another_serves(store: Store, source: Path, repository: Path) -> None:
    publish_to(store, source, 9)
    fetch(store, 9, repository)
    assert (versions(repository), serving_version(repository)) == ((1, 2, 3, 9), 1)
    before = {p: p.stat().st_mtime_ns for p in repository.rglob("*") if p.is_file()}
    assert fetch(store, 9, repository) == 9, "the very same again is fine"
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_version_is_never_overwritten(store: Store, repository: Path, tmp_path: Path) -> None:
    publish_to(store, promotable(tmp_path / "exported", 9.0), 1)
    with pytest.raises(GlioserveError, match="has version 1") as caught:
        publish_to(store, promotable(tmp_path / "other", 2.0), 1)
    assert caught.value.code is ErrorCode.VERSION_EXISTS
    assert verify_store(store).problems == ()
    with pytest.raises(GlioserveError, match="has version 1, and it is not the store's") as caught:
        fetch(store, 1, repository)
    assert caught.value.code is ErrorCode.VERSION_EXISTS
    assert verify(repository).problems == ()


def test_a_store_where_nothing_was_ever_published_is_a_problem(store: Store) -> None:
    """A mistyped URL must not be found whole."""
    assert verify_store(store).problems == ("classifier/: has no version; is the URL right?",)


def test_a_version_that_is_not_there(store: Store, tmp_path: Path) -> None:
    for call in (
        lambda: fetch(store, 3, tmp_path / "repository"),
        lambda: verify_store(store, 3),
        lambda: store.manifest(3),
    ):
        with pytest.raises(GlioserveError, match="no version 3") as caught:
            call()
        assert caught.value.code is ErrorCode.VERSION_NOT_FOUND
    assert not (tmp_path / "repository").exists()


def test_one_flipped_byte_is_found_there_and_never_joins(store: Store, source: Path, repository: Path) -> None:
    publish_to(store, source, 7)
    names = sorted(n for n in store.names(7) if not n.startswith("."))
    assert len(names) == 5
    for name in names:
        path = path_of(store, 7, name)
        whole = files(store).cat_file(path)
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        files(store).pipe_file(path, bytes(flipped))
        assert name in "\n".join(verify_store(store).problems)
        with pytest.raises(GlioserveError, match=name) as caught:
            fetch(store, 7, repository)
        assert caught.value.code is ErrorCode.INVALID_MANIFEST
        assert versions(repository) == (1, 2, 3)
        assert not list(classifier_folder(repository).glob(".staging*"))
        files(store).pipe_file(path, whole)
    assert fetch(store, 7, repository) == 7


def test_a_file_that_is_missing_there_is_told(store: Store, source: Path, tmp_path: Path) -> None:
    publish_to(store, source)
    files(store).rm_file(path_of(store, 1, "model.onnx"))
    assert verify_store(store).problems == ("1/model.onnx: is missing",)
    with pytest.raises(GlioserveError) as caught:
        fetch(store, 1, tmp_path / "repository")
    assert caught.value.code is ErrorCode.STORE_FAILED
    assert versions(tmp_path / "repository") == ()


def test_the_list_tells_a_broken_one_from_a_whole_one(store: Store, source: Path) -> None:
    publish_to(store, source)
    publish_to(store, source)
    files(store).pipe_file(path_of(store, 2, "manifest.json"), b"{")
    one, two = list_store(store)
    assert one.record()["name"] == "tiny"
    assert "manifest.json" in two.record()["problem"]
    assert verify_store(store, 1).problems == ()
    assert verify_store(store).problems != ()


# The gate


def test_a_stores_gate_judges_and_its_override_is_recorded(store: Store, source: Path, tmp_path: Path) -> None:
    gate = json.dumps({"schema": "glioserve/gate/1", "min_auc": 0.8}).encode()
    publish_to(store, source)
    files(store).pipe_file(f"{store._root}/gate.json", gate)
    with pytest.raises(GlioserveError, match="evaluation: none") as caught:
        publish_to(store, source)
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert store.versions() == (1,)
    report = write_evaluation(tmp_path / "evaluation.json", load_manifest(source))
    assert publish_to(store, source, terms=Terms(read_summary(report))) == 2
    assert publish_to(store, source, terms=Terms(override="a trial")) == 3
    publication = store.manifest(3).publication
    assert publication is not None
    assert publication.override == "a trial"


def test_another_preprocessing_needs_another_store(store: Store, source: Path, tmp_path: Path) -> None:
    publish_to(store, source)
    other = fake_export(tmp_path / "other", tiny_recipe(min_slices=20), cam_grid=(4, 4, 4))
    with pytest.raises(GlioserveError) as caught:
        publish_to(store, other, terms=Terms(override="nearly the same"))
    assert caught.value.code is ErrorCode.PREPROCESSING_MISMATCH
    assert store.versions() == (1,)


def test_what_would_serve_at_once_must_pass_the_repositorys_own_gate(
    store: Store, source: Path, repository: Path, tmp_path: Path
) -> None:
    publish_to(store, source, 5)
    limits = json.dumps({"schema": "glioserve/gate/1", "require_evaluation": True})
    empty = tmp_path / "empty"
    for folder in (empty, repository):
        folder.mkdir(exist_ok=True)
        (folder / "gate.json").write_text(limits)
    with pytest.raises(GlioserveError) as caught:
        fetch(store, 5, empty)
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert versions(empty) == ()
    assert fetch(store, 5, empty, override="nothing else is here") == 5
    assert fetch(store, 5, repository) == 5, "it waits; its promotion asks the gate"


def test_a_fetched_version_must_fit_what_is_there(store: Store, repository: Path, tmp_path: Path) -> None:
    publish_to(store, fake_export(tmp_path / "other", tiny_recipe(min_slices=20), cam_grid=(4, 4, 4)), 8)
    with pytest.raises(GlioserveError) as caught:
        fetch(store, 8, repository)
    assert caught.value.code is ErrorCode.PREPROCESSING_MISMATCH
    assert versions(repository) == (1, 2, 3)


# Interrupted and concurrent uploads


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_upload_that_was_cut_off_is_no_version_and_its_retry_is_one(
    url: str, source: Path, tmp_path: Path, after: int
) -> None:
    broken = Store(url)
    broken._fs = Interrupted(broken._fs, after, OSError(104, "Connection reset by peer"))
    with pytest.raises(GlioserveError, match="Connection reset by peer") as caught:
        publish_to(broken, source)
    assert caught.value.code is ErrorCode.STORE_FAILED
    store = Store(url)
    assert store.versions() == ()
    assert verify_store(store).problems == ()
    assert publish_to(store, source) == 1, "the same upload takes up its number"
    assert CLAIM_FILE not in store.names(1)
    assert verify_store(store).problems == ()
    assert fetch(store, 1, tmp_path / "repository") == 1


def test_another_upload_leaves_one_that_was_cut_off_alone(url: str, source: Path, tmp_path: Path) -> None:
    broken = Store(url)
    broken._fs = Interrupted(broken._fs, 1, OSError(104, "Connection reset by peer"))
    with pytest.raises(GlioserveError):
        publish_to(broken, source, 4)
    store, other = Store(url), promotable(tmp_path / "other", 2.0)
    with pytest.raises(GlioserveError, match="Another upload of version 4 was begun") as caught:
        publish_to(store, other, 4)
    assert caught.value.code is ErrorCode.REPOSITORY_BUSY
    assert publish_to(store, other) == 5
    assert publish_to(store, source, 4) == 4
    assert store.versions() == (4, 5)
    assert verify_store(store).problems == ()


def test_uploads_at_once_get_versions_of_their_own_or_a_clear_no(url: str, tmp_path: Path) -> None:
    sources = [promotable(tmp_path / f"exported {i}", float(i)) for i in range(1, 6)]

    def publish(source: Path) -> int | ErrorCode:
        try:
            return publish_to(Store(url), source)
        except GlioserveError as error:
            return error.code

    with ThreadPoolExecutor(len(sources)) as pool:
        outcomes = list(pool.map(publish, sources))
    numbers = [outcome for outcome in outcomes if isinstance(outcome, int)]
    refused = {outcome for outcome in outcomes if not isinstance(outcome, int)}
    store = Store(url)
    assert sorted(numbers) == list(store.versions())
    assert len(numbers) >= 1
    assert refused <= {ErrorCode.REPOSITORY_BUSY, ErrorCode.VERSION_EXISTS}
    assert verify_store(store).problems == ()
    for source, number in zip(sources, outcomes, strict=True):
        if isinstance(number, int):
            assert store.manifest(number).weights_digest == load_manifest(source).weights_digest


def test_an_upload_that_ended_since_the_last_look_is_not_written_over(
    url: str, store: Store, source: Path, tmp_path: Path
) -> None:
    """Its claim is gone then, and nothing but its manifest tells that the number is taken."""
    other, create = promotable(tmp_path / "other", 2.0), store._create

    def meanwhile(version: int, *arguments: Any) -> None:
        assert publish_to(Store(url), other, version) == version
        create(version, *arguments)

    setattr(store, "_create", meanwhile)  # noqa: B010 - a method is replaced
    with pytest.raises(GlioserveError) as caught:
        publish_to(store, source, 3)
    assert caught.value.code is ErrorCode.VERSION_EXISTS
    assert store.manifest(3).weights_digest == load_manifest(other).weights_digest
    assert CLAIM_FILE not in store.names(3)
    assert verify_store(store).problems == ()


def test_a_claim_that_is_removed_while_another_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = GlioserveError(ErrorCode.REPOSITORY_BUSY)
    store._create(3, CLAIM_FILE, b"theirs", refusal)
    monkeypatch.setattr(store, "_content", lambda path: None)
    with pytest.raises(GlioserveError) as caught:
        store._create(3, CLAIM_FILE, b"mine", refusal)
    assert caught.value is refusal


def test_a_file_that_must_be_new_is_written_once(store: Store) -> None:
    """An upload's claim and its manifest depend on it."""
    refusal = GlioserveError(ErrorCode.VERSION_EXISTS)
    store._create(3, "manifest.json", b"mine", refusal)
    store._create(3, "manifest.json", b"mine", refusal)  # an answer that was lost, and the call made again
    with pytest.raises(GlioserveError) as caught:
        store._create(3, "manifest.json", b"yours", refusal)
    assert caught.value is refusal
    assert store.read(3, "manifest.json") == b"mine"


# Errors


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, f"Forbidden for {KEY} with {SECRET}"),
        RuntimeError(f"https://user:{SECRET}@store.example/x?X-Amz-Signature={'0' * 64} refused"),
        OSError(f"The key {SECRET} is not known"),
    ],
)
def test_a_stores_error_tells_no_credentials(tmp_path: Path, source: Path, error: Exception) -> None:
    store = Store(f"file://{tmp_path}/store")
    store._fs = Interrupted(store._fs, 0, error)
    with pytest.raises(GlioserveError) as caught:
        publish_to(store, source)
    assert caught.value.code is ErrorCode.STORE_FAILED
    for secret in (KEY, SECRET, "0" * 64, "user"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "nor does a traceback"


def test_a_bucket_that_is_not_there_and_a_server_that_is_not(
    s3: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    mistyped = Store("s3://no-such-bucket-at-all/models")
    with pytest.raises(GlioserveError, match="bucket does not exist") as caught:
        publish_to(mistyped, source)
    assert caught.value.code is ErrorCode.STORE_FAILED
    assert not files(mistyped).exists("no-such-bucket-at-all"), "and none is made of a typing error"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    options = {"config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 2}}
    with pytest.raises(GlioserveError) as caught:
        publish_to(Store("s3://models/x", **options), source)
    assert caught.value.code is ErrorCode.STORE_FAILED
    assert SECRET not in str(caught.value)


def test_a_file_system_that_is_not_installed_or_not_known_is_named() -> None:
    with pytest.raises(GlioserveError, match="gopher") as caught:
        Store("gopher://somewhere/models")
    assert caught.value.code is ErrorCode.STORE_FAILED


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/prefix")
    assert is_url("file:///tmp/x")
    assert not is_url("build/repository")
    assert not is_url("/srv/models")


# The commands


@pytest.mark.parametrize("url", ["file", "s3"], indirect=True)
def test_the_commands_work_on_a_url(url: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "repository"
    assert main(["repository", "publish", str(source), "--to", url]) == 0
    assert f"glioserve repository fetch {url} --version 1" in capsys.readouterr().out
    assert main(["repository", "list", url, "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["version"], listed["role"], listed["parity"]) == (1, "", True)
    assert main(["repository", "fetch", url, "--version", "1", "--repository", str(repository)]) == 0
    assert main(["repository", "verify", url]) == 0
    assert capsys.readouterr().out.endswith("versions 1: 4 files, 0 problems\n")
    store = Store(url)
    files(store).pipe_file(path_of(store, 1, "recipe.json"), b"{}")
    assert main(["repository", "verify", url]) == 1
    assert "PROBLEM  1/recipe.json: is not the file" in capsys.readouterr().out
    assert add_version(repository, source) == 2
