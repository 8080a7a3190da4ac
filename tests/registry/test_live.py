"""Promotion on the real server: no request fails, and whatever goes wrong leaves the version before answering."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_cli.main import main
from glioserve_client import GliomaClient
from glioserve_client.options import NO_RETRY
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import ReferenceCase
from glioserve_preprocess.files import file_digest
from glioserve_registry.layout.repository import add_version
from glioserve_registry.layout.serving import classifier_folder
from glioserve_registry.layout.verify import verify
from glioserve_registry.promoting.live_server import TritonLive
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_triton.process.options import Ports, ServerOptions
from glioserve_triton.process.server import TritonServer
from glioserve_triton.served.promotions import load_promotion, serving_version
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.promotable import (
    any_study,
    any_study_folder,
    promotable,
    promotable_repository,
    score_of,
    weights_digest,
)
from support.models.recipes import tiny_recipe
from support.server.triton import assert_nothing_left, running_server, wait_until

from .conftest import LOGITS

pytestmark = pytest.mark.triton

CLIENTS = 4
TIMEOUT_S = 60.0


@contextmanager
def live(repository: Path, *servers: TritonServer, token: str | None = None) -> Iterator[list[TritonLive]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                TritonLive(s.grpc_url, token or s.options.admin_token, repository, any_study(), timeout_s=TIMEOUT_S)
            )
            for s in servers
        ]


def answer(server: TritonServer) -> tuple[str, float]:
    """(version, score) as a caller gets them."""
    with GliomaClient(server.grpc_url, timeout_s=TIMEOUT_S, retry=NO_RETRY) as client:
        prediction = client.predict(any_study())
    return prediction.model.version, prediction.score


class Load:
    """A few clients that send studies without a pause, each waiting for its answer, and never try again."""

    def __init__(self, server: TritonServer) -> None:
        self._url = server.grpc_url
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self.answered: Counter[str] = Counter()
        self.wrong: list[str] = []

    def __enter__(self) -> Load:
        self._futures = [self._pool.submit(self._ask) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()

    def _ask(self) -> None:
        with GliomaClient(self._url, timeout_s=TIMEOUT_S, retry=NO_RETRY) as client:
            while not self._stop.is_set():
                try:
                    prediction = client.predict(any_study())
                except GlioserveError as error:
                    self.wrong.append(str(error))
                    continue
                version = prediction.model.version
                self.answered[version] += 1
                if prediction.score != pytest.approx(score_of(LOGITS[int(version) - 1]), abs=1e-6):
                    self.wrong.append(f"version {version} said {prediction.score}")

    def wait_for(self, version: int, more: int = 20) -> None:
        """Wait until this version has answered so many more studies."""
        goal = self.answered[str(version)] + more
        wait_until(lambda: self.answered[str(version)] >= goal or bool(self.wrong), f"version {version} answers")


@pytest.mark.long
def test_no_request_fails_while_versions_come_and_go(repository: Path) -> None:
    with running_server(repository) as server, live(repository, server) as servers:
        with Load(server) as load:
            load.wait_for(1)
            for version in (2, 3, 1, 3):
                promote(repository, version, servers)
                load.wait_for(version)
            for before in (1, 3, 2):
                assert rollback(repository, servers).version == before
                load.wait_for(before)
        assert load.wrong == []
        assert set(load.answered) == {"1", "2", "3"}
        assert answer(server) == ("2", pytest.approx(score_of(2.0)))
        found = load_promotion(classifier_folder(repository))
        assert found is not None
        assert [c.undone for c in found.history] == [None] * len(found.history)
        assert found.history[-1].canary[server.grpc_url].version == "2"
    assert verify(repository).problems == ()


@pytest.mark.long
def test_a_version_published_under_load_waits_and_disturbs_nothing(repository: Path, tmp_path: Path) -> None:
    with running_server(repository) as server, Load(server) as load:
        load.wait_for(1)
        for number in (4, 5):
            assert add_version(repository, promotable(tmp_path / f"newer {number}", float(number))) == number
        load.wait_for(1)
    assert load.wrong == []
    assert set(load.answered) == {"1"}


@pytest.mark.long
def test_a_version_that_cannot_load_is_undone(repository: Path, tmp_path: Path) -> None:
    broken = promotable(tmp_path / "broken", 9.0, model=b"no graph at all")
    assert add_version(repository, broken) == 4
    with running_server(repository) as server, live(repository, server) as servers:
        with Load(server) as load:
            load.wait_for(1)
            with pytest.raises(GlioserveError, match=r"does not load the classifier.*version 1 serves") as caught:
                promote(repository, 4, servers)
            load.wait_for(1)
        assert load.wrong == []
        assert caught.value.code is ErrorCode.PROMOTION_UNDONE
        assert str(repository) not in str(caught.value), "a server's folders are not the caller's business"
        assert answer(server)[0] == "1"
        promote(repository, 2, servers)  # and the next goes through
        assert answer(server)[0] == "2"
    found = load_promotion(classifier_folder(repository))
    assert found is not None
    assert [(c.to_version, c.undone is None) for c in found.history] == [(1, True), (4, False), (2, True)]
    assert (found.serving, found.previous, found.begun) == (2, 1, None)


@pytest.mark.long
def test_a_canary_that_is_not_answered_undoes_it(repository: Path, tmp_path: Path) -> None:
    """The graph answers, but as other weights than its manifest says: no manifest has them."""
    source = promotable(tmp_path / "impostor", 7.0)
    manifest = source / "manifest.json"
    manifest.write_text(manifest.read_text().replace(weights_digest(7.0), weights_digest(8.0)))
    assert add_version(repository, source) == 4
    with running_server(repository) as server, live(repository, server) as servers:
        with pytest.raises(GlioserveError, match=r"GLIO-2101.*Undone: version 1 serves, and has answered") as caught:
            promote(repository, 4, servers)
        assert caught.value.code is ErrorCode.PROMOTION_UNDONE
        assert answer(server)[0] == "1"
    assert serving_version(repository) == 1


def with_reference_case(folder: Path, logit: float, expected: float) -> Path:
    """A version whose recipe expects this score of its reference case."""
    recipe = tiny_recipe()
    image = np.zeros((len(recipe.channels), *recipe.grid.shape), dtype=np.float32)
    folder.mkdir()
    case = folder / "reference_case.npz"
    np.savez(case, image=image)
    changed = replace(recipe, reference_case=ReferenceCase(file_digest(case), expected))
    promotable(folder, logit, changed)
    manifest = load_manifest(folder)
    save_manifest(replace(manifest, files={**manifest.files, case.name: file_digest(case)}), folder)
    return folder


@pytest.mark.long
def test_the_reference_case_is_asked_before_the_canary(repository: Path, tmp_path: Path) -> None:
    """Version 4 has its classes' scores swapped by its recipe, and would answer the canary study as well as any."""
    add_version(repository, with_reference_case(tmp_path / "swapped", 4.0, 1 - score_of(4.0)))
    add_version(repository, with_reference_case(tmp_path / "right", 4.0, score_of(4.0)))
    with running_server(repository) as server, live(repository, server) as servers:
        with pytest.raises(GlioserveError, match=r"GLIO-5117.*version 1 serves, and has answered") as caught:
            promote(repository, 4, servers)
        assert caught.value.code is ErrorCode.PROMOTION_UNDONE
        assert answer(server)[0] == "1"
        told = promote(repository, 5, servers).canary[server.grpc_url]
        assert told.reference_case == pytest.approx(score_of(4.0))


@pytest.mark.long
def test_a_wrong_token_changes_nothing(repository: Path) -> None:
    before = {p: p.read_bytes() for p in classifier_folder(repository).rglob("*") if p.is_file()}
    with (
        running_server(repository) as server,
        live(repository, server, token="some-other-token-than-its-own") as servers,
    ):
        with pytest.raises(GlioserveError, match="the admin token is not the one that it was started with") as caught:
            promote(repository, 2, servers)
        assert caught.value.code is ErrorCode.REQUEST_REFUSED
        assert answer(server)[0] == "1"
    assert {p: p.read_bytes() for p in classifier_folder(repository).rglob("*") if p.is_file()} == before


@pytest.mark.long
def test_a_server_over_another_repository_is_noticed(repository: Path, tmp_path: Path) -> None:
    other = promotable_repository(tmp_path / "other" / "repository", (5.0,))
    with running_server(other) as server, live(repository, server) as servers:
        with pytest.raises(GlioserveError, match=r"Is it this repository.*UNDOING IT FAILED TOO") as caught:
            promote(repository, 2, servers, load_timeout_s=2)
        assert caught.value.code is ErrorCode.PROMOTION_UNDONE
        assert answer(server) == ("1", pytest.approx(score_of(5.0)))
    assert serving_version(repository) == 1


@pytest.mark.slow
def test_replicas_are_promoted_together_or_not_at_all(repository: Path) -> None:
    with running_server(repository) as one, running_server(repository) as two, live(repository, one, two) as servers:
        promote(repository, 2, servers)
        assert [answer(s)[0] for s in (one, two)] == ["2", "2"]
        with live(repository, one) as first, live(repository, two) as second:
            second[0].canary = _refuse  # type: ignore[method-assign]
            with pytest.raises(GlioserveError) as caught:
                promote(repository, 3, [*first, *second])
        assert caught.value.code is ErrorCode.PROMOTION_UNDONE
        assert [answer(s)[0] for s in (one, two)] == ["2", "2"]
    assert serving_version(repository) == 2


def _refuse(_served: object) -> dict[str, object]:
    raise GlioserveError(ErrorCode.INVALID_MODEL_OUTPUT, "The canary is not happy.")


@pytest.mark.long
def test_equal_weights_answer_with_the_recipe_of_the_version_that_serves(tmp_path: Path) -> None:
    """A temperature fitted later makes another version of the same network."""
    recipe = tiny_recipe()
    repository = tmp_path / "repository"
    add_version(repository, promotable(tmp_path / "as trained", 3.0, recipe))
    add_version(repository, promotable(tmp_path / "calibrated", 3.0, replace(recipe, temperature=2.0)))
    with running_server(repository) as server, live(repository, server) as servers:
        assert answer(server) == ("1", pytest.approx(score_of(3.0)))
        promote(repository, 2, servers)
        assert answer(server) == ("2", pytest.approx(score_of(3.0, 2.0)))
        rollback(repository, servers)
        assert answer(server) == ("1", pytest.approx(score_of(3.0)))


@pytest.mark.long
def test_a_restarted_server_serves_what_was_promoted(repository: Path) -> None:
    promote(repository, 3)
    with running_server(repository) as server:
        assert answer(server)[0] == "3"


def test_the_command_does_it_all(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token_file, study = tmp_path / "token", any_study_folder(tmp_path / "canary")
    with running_server(repository) as server:
        token_file.write_text(server.options.admin_token + "\n")
        where = ["--repository", str(repository), "--url", server.grpc_url]
        where += ["--admin-token-file", str(token_file), "--canary", str(study)]
        assert main(["repository", "promote", "3", *where]) == 0
        assert answer(server)[0] == "3"
        assert main(["repository", "rollback", *where]) == 0
        assert answer(server)[0] == "1"
        assert main(["repository", "rollback", *where]) == 1
    told = capsys.readouterr()
    assert f"{server.grpc_url}: version 3 answered the canary study (recurrence, score 0.953)" in told.out
    assert "version 1 serves instead of version 3" in told.out
    assert told.err.startswith("[GLIO-5124]")


class PollOptions(ServerOptions):
    """A server that looks at its repository every second instead of being told."""

    def flags(self, ports: Ports, repository: Path, models: Sequence[str]) -> list[str]:
        kept = [
            f for f in super().flags(ports, repository, models) if not f.startswith(("--load-model", "--model-control"))
        ]
        return [*kept, "--model-control-mode=poll", "--repository-poll-secs=1"]


@pytest.mark.long
def test_a_polling_server_never_sees_half_a_state(repository: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    server = TritonServer(repository, PollOptions(), on_line=lines.append)
    server.start()
    group, run_folder = server.process.pid, server.process.run.path
    try:
        with Load(server) as load:
            for number, version in ((4, 2), (5, 3), (6, 1)):
                add_version(repository, promotable(tmp_path / f"newer {number}", float(number)))
                promote(repository, version)
                load.wait_for(version)
        assert load.wrong == []
        assert {"1", "2", "3"} == set(load.answered)
    finally:
        server.stop()
    assert_nothing_left(group, run_folder)
    told = "\n".join(lines)
    assert told.count("successfully loaded 'classifier'") >= 4
    assert "failed to load" not in told
