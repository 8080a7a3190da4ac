"""Promotion and rollback: what changes, in which order, and that every failure leaves what was there before."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.promotion import CanaryRecord, Promotion
from glioserve_registry.layout import serving
from glioserve_registry.layout.repository import MARKER, add_version
from glioserve_registry.layout.serving import classifier_folder, version_folder
from glioserve_registry.layout.verify import verify
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_triton.served.promotions import load_promotion, serving_version
from support.models.promotable import promotable, promotable_repository
from support.models.recipes import fake_export, tiny_recipe
from support.server.stand_in_server import StandInServer

TIMEOUT_S = 60


def record(repository: Path) -> Promotion:
    found = load_promotion(classifier_folder(repository))
    assert found is not None
    return found


def pinned(repository: Path) -> set[tuple[int, ...]]:
    """The versions that serve by each configuration."""
    classifier = classifier_folder(repository)
    configs = [classifier / "config.pbtxt", *classifier.glob("configs/*.pbtxt")]
    assert len(configs) > 3
    parsed = [text_format.Parse(path.read_text(), model_config_pb2.ModelConfig()) for path in configs]
    return {tuple(config.version_policy.specific.versions) for config in parsed}


def state(repository: Path) -> dict[str, bytes]:
    files = (p for p in repository.rglob("*") if p.is_file() and p.name != MARKER)
    return {str(p.relative_to(repository)): p.read_bytes() for p in files}


def policy(version: int) -> set[tuple[int, ...]]:
    return {(version,)}


# Files alone


def test_promotion_changes_the_record_and_every_profile(repository: Path) -> None:
    assert pinned(repository) == policy(1)
    done = promote(repository, 3)
    assert (done.version, done.before, done.canary) == (3, 1, {})
    assert pinned(repository) == policy(3)
    last = record(repository).history[-1]
    assert (last.action, last.from_version, last.to_version, last.undone, last.canary) == ("promote", 1, 3, None, {})
    assert last.gate is not None
    assert last.gate.passed is True
    assert last.at.endswith("+00:00")
    assert verify(repository).problems == ()


def test_promoting_what_serves_changes_nothing_and_mends_its_configurations(repository: Path) -> None:
    before = state(repository)
    assert promote(repository, 1).before == 1
    assert state(repository) == before
    (classifier_folder(repository) / "configs" / "tensorrt-gpu.pbtxt").write_text("edited by hand")
    assert verify(repository).problems != ()
    promote(repository, 1)
    assert state(repository) == before


def test_rollback_goes_one_step_further_back_each_time(repository: Path) -> None:
    for version in (2, 3, 1, 2):
        promote(repository, version)
    for wanted in (1, 3, 2, 1):
        assert record(repository).previous == wanted
        assert rollback(repository).version == wanted
        assert pinned(repository) == policy(wanted)
    assert record(repository).previous is None
    before = state(repository)
    with pytest.raises(GlioserveError, match="No version served here before") as caught:
        rollback(repository)
    assert caught.value.code is ErrorCode.VERSION_NOT_FOUND
    assert state(repository) == before


def test_a_version_that_was_rolled_away_from_is_never_rolled_to(repository: Path) -> None:
    promote(repository, 2)
    rollback(repository)
    promote(repository, 3)
    assert rollback(repository).version == 1
    assert record(repository).previous is None


def test_a_version_that_is_not_there(repository: Path, tmp_path: Path) -> None:
    before = state(repository)
    with pytest.raises(GlioserveError, match="no version 9") as caught:
        promote(repository, 9)
    assert caught.value.code is ErrorCode.VERSION_NOT_FOUND
    assert state(repository) == before
    with pytest.raises(GlioserveError) as caught:
        rollback(tmp_path / "empty")
    assert caught.value.code is ErrorCode.VERSION_NOT_FOUND


def test_a_version_whose_files_changed_is_not_promoted_by_any_reason(repository: Path) -> None:
    graph = version_folder(repository, 2) / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    before = state(repository)
    with pytest.raises(GlioserveError, match=r"Version 2 of the repository: model\.onnx") as caught:
        promote(repository, 2, override="it looks fine to me")
    assert caught.value.code is ErrorCode.INVALID_MANIFEST
    assert state(repository) == before


def test_a_version_put_there_by_hand_with_another_preprocessing_is_not_promoted(repository: Path) -> None:
    fake_export(version_folder(repository, 4), tiny_recipe(min_slices=20), cam_grid=(4, 4, 4))
    before = state(repository)
    with pytest.raises(GlioserveError) as caught:
        promote(repository, 4, override="the same, nearly")
    assert caught.value.code is ErrorCode.PREPROCESSING_MISMATCH
    assert state(repository) == before


def test_the_gate_is_asked_again_and_overridden_for_the_record(repository: Path) -> None:
    (repository / "gate.json").write_text(json.dumps({"schema": "glioserve/gate/1", "min_auc": 0.8}))
    before = state(repository)
    with pytest.raises(GlioserveError, match=r"evaluation: none \(required\)") as caught:
        promote(repository, 2)
    assert caught.value.code is ErrorCode.GATE_REFUSED
    assert state(repository) == before
    assert promote(repository, 2, override="  the old one answers nonsense since the update ").override
    last = record(repository).history[-1]
    assert last.override == "the old one answers nonsense since the update"
    assert last.gate is not None
    assert last.gate.passed is False
    assert rollback(repository).version == 1, "going back asks no limits"
    with pytest.raises(GlioserveError, match="needs a reason"):
        promote(repository, 2, override="  ")


def test_an_override_that_was_not_needed_is_not_recorded(repository: Path) -> None:
    assert promote(repository, 2, override="just to be sure").override is None
    assert record(repository).history[-1].override is None


# A repository made before there was a record


def old_repository(folder: Path) -> Path:
    promotable_repository(folder, (1.0, 2.0))
    classifier = classifier_folder(folder)
    (classifier / "promotion.json").unlink()
    for config in (classifier / "config.pbtxt", *classifier.glob("configs/*.pbtxt")):
        config.write_text(config.read_text().replace("specific { versions: [1] }", "latest { num_versions: 1 }"))
    return folder


def test_its_newest_version_serves_and_goes_on_when_another_is_published(tmp_path: Path) -> None:
    repository = old_repository(tmp_path / "old")
    assert serving_version(repository) == 2
    assert add_version(repository, promotable(tmp_path / "newer", 3.0)) == 3
    assert serving_version(repository) == 2
    assert pinned(repository) == policy(2)
    promote(repository, 3)
    assert rollback(repository).version == 2


def test_it_can_be_promoted_in_at_once(tmp_path: Path) -> None:
    repository = old_repository(tmp_path / "old")
    assert promote(repository, 1).before == 2
    assert pinned(repository) == policy(1)
    assert rollback(repository).version == 2


# Live servers


def test_a_server_loads_and_answers_before_it_counts(repository: Path) -> None:
    server = StandInServer(repository)
    steps: list[str] = []
    done = promote(repository, 2, [server], progress=steps.append)
    assert server.log == ["load 2", "canary 2"]
    assert done.canary == {"one:8001": CanaryRecord("2", 0.5, "recurrence")}
    assert record(repository).history[-1].canary == done.canary
    assert record(repository).begun is None
    assert steps == ["one:8001: loading version 2", "one:8001: canary study"]


def test_while_it_is_tried_the_record_says_so(repository: Path) -> None:
    server = StandInServer(repository)
    seen = []
    server.before_load = lambda: seen.append(record(repository))
    promote(repository, 2, [server])
    (during,) = seen
    assert (during.serving, during.begun and during.begun.from_version) == (2, 1)


@pytest.mark.parametrize("what", ["fails", "mute"])
def test_what_does_not_load_or_answer_is_undone(repository: Path, what: str) -> None:
    server, before = StandInServer(repository), pinned(repository)
    getattr(server, what).add(2)
    with pytest.raises(GlioserveError, match=r"Version 2 on one:8001.*Undone: version 1 serves, and has") as caught:
        promote(repository, 2, [server])
    assert caught.value.code is ErrorCode.PROMOTION_UNDONE
    assert server.log[-2:] == ["load 1", "canary 1"]
    assert server.loaded == 1
    assert pinned(repository) == before
    found = record(repository)
    assert (found.serving, found.previous, found.begun) == (1, None, None)
    assert found.history[-1].to_version == 2
    assert found.history[-1].undone
    assert verify(repository).problems == ()
    assert promote(repository, 3, [server]).before == 1


def test_one_replica_that_fails_takes_the_others_back(repository: Path) -> None:
    servers = [StandInServer(repository, f"replica-{i}:8001") for i in range(3)]
    servers[1].mute.add(2)
    with pytest.raises(GlioserveError, match="replica-1:8001"):
        promote(repository, 2, servers)
    assert [s.log for s in servers] == [
        ["load 2", "canary 2", "load 1", "canary 1"],
        ["load 2", "canary 2", "load 1", "canary 1"],
        [],
    ]


def test_a_server_that_is_closed_to_the_token_is_noticed_before_anything_changes(repository: Path) -> None:
    servers = [StandInServer(repository, "open:8001"), StandInServer(repository, "closed:8001")]
    servers[1].closed_to_this_token = True
    before = state(repository)
    with pytest.raises(GlioserveError) as caught:
        promote(repository, 2, servers)
    assert caught.value.code is ErrorCode.REQUEST_REFUSED
    assert state(repository) == before
    assert servers[0].log == []


def test_a_server_that_says_it_loaded_and_did_not_is_not_believed(repository: Path) -> None:
    server = StandInServer(repository)
    server.deaf = True
    with pytest.raises(GlioserveError, match="the versions that are ready are: 1; not 2 alone"):
        promote(repository, 2, [server], load_timeout_s=0.3)
    assert serving_version(repository) == 1


def test_undoing_that_fails_is_told_loudly_with_what_to_do(repository: Path) -> None:
    server = StandInServer(repository)
    server.mute |= {1, 2}
    with pytest.raises(GlioserveError) as caught:
        promote(repository, 2, [server])
    told = str(caught.value)
    assert caught.value.code is ErrorCode.PROMOTION_UNDONE
    for words in ("UNDOING IT FAILED TOO", "one:8001", "NOT known", "glioserve repository promote 1", "verify"):
        assert words in told
    assert serving_version(repository) == 1, "the files at least are as before"


def test_a_canary_study_that_every_version_refuses_is_told_as_what_it_is(repository: Path) -> None:
    """The server is back with the version before, alone: what is wrong is the study."""
    server, steps = StandInServer(repository), []

    def refuse(_served: object) -> dict[str, object]:
        raise GlioserveError(ErrorCode.MISSING_SEQUENCE, "No t1 series.")

    server.canary = refuse  # type: ignore[method-assign]
    with pytest.raises(
        GlioserveError, match=r"GLIO-1301.*version 1 serves, and refuses the canary study too"
    ) as caught:
        promote(repository, 2, [server], progress=steps.append)
    assert caught.value.code is ErrorCode.PROMOTION_UNDONE
    assert "NOT known" not in str(caught.value)
    assert steps[-1].startswith("Undone: version 1 serves")
    assert (server.loaded, serving_version(repository)) == (1, 1)


def test_a_manifest_that_is_broken_elsewhere_keeps_nobody_from_rolling_back(repository: Path) -> None:
    promote(repository, 2)
    for version in (2, 3):
        (version_folder(repository, version) / "manifest.json").write_text("{")
    with pytest.raises(GlioserveError, match="Version 2 of the repository"):
        promote(repository, 1)
    assert rollback(repository).version == 1
    assert pinned(repository) == policy(1)


def test_undoing_towards_a_version_that_is_gone_is_told_too(repository: Path) -> None:
    server = StandInServer(repository)
    server.mute.add(2)

    def lose_version_1() -> None:
        version_folder(repository, 1).rename(repository / "lost")

    server.before_load = lose_version_1
    with pytest.raises(GlioserveError, match=r"UNDOING IT FAILED TOO \(the files: \[GLIO-5124\]"):
        promote(repository, 2, [server])


def test_an_interruption_undoes_it_and_goes_on(repository: Path) -> None:
    server = StandInServer(repository)

    def interrupt() -> None:
        server.before_load = lambda: None
        raise KeyboardInterrupt

    server.before_load = interrupt
    with pytest.raises(KeyboardInterrupt):
        promote(repository, 2, [server])
    assert pinned(repository) == policy(1)
    assert server.log == ["load 1", "canary 1"]
    assert record(repository).history[-1].undone == "It was interrupted."


def test_an_unknown_error_is_recorded_by_its_type_alone(repository: Path) -> None:
    server = StandInServer(repository)

    def raise_once() -> None:
        server.before_load = lambda: None
        raise RuntimeError("of Wilhelmina Zyxquist in /home/radiology")

    server.before_load = raise_once
    with pytest.raises(GlioserveError, match="RuntimeError"):
        promote(repository, 2, [server])
    assert record(repository).history[-1].undone == "RuntimeError."


def test_rollback_on_a_live_server_that_fails_keeps_the_version_that_serves(repository: Path) -> None:
    promote(repository, 2)
    server = StandInServer(repository)
    server.fails.add(1)
    with pytest.raises(GlioserveError, match="version 2 serves") as caught:
        rollback(repository, [server])
    assert caught.value.code is ErrorCode.PROMOTION_UNDONE
    assert (record(repository).serving, record(repository).previous) == (2, 1)


# Others at work, and sudden ends


def test_two_promotions_at_once_go_one_after_the_other(repository: Path) -> None:
    start = threading.Barrier(4)

    def race(version: int) -> None:
        server = StandInServer(repository, f"server-{version}:8001")
        start.wait(TIMEOUT_S)
        for _ in range(3):
            promote(repository, version, [server])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(race, (1, 2, 3, 2)))
    found = record(repository)
    assert pinned(repository) == policy(found.serving)
    chain = [(c.from_version, c.to_version) for c in found.history]
    for (_, to), (origin, _) in itertools.pairwise(chain):
        assert origin == to, "each began where the one before it ended"
    assert verify(repository).problems == ()


def test_a_promotion_waits_for_a_publication_and_says_when_it_takes_too_long(repository: Path) -> None:
    from glioserve_export.files import exclusive

    with exclusive(repository / MARKER, 1), pytest.raises(GlioserveError, match="locked for") as caught:
        promote(repository, 2, lock_timeout_s=0.1)
    assert caught.value.code is ErrorCode.REPOSITORY_BUSY
    assert serving_version(repository) == 1


def test_publications_and_promotions_at_once(repository: Path, tmp_path: Path) -> None:
    sources = [promotable(tmp_path / f"more {i}", 4.0 + i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        added = [pool.submit(add_version, repository, source) for source in sources]
        promoted = [pool.submit(promote, repository, version) for version in (2, 3, 1, 2)]
        assert sorted(future.result(TIMEOUT_S) for future in added) == [4, 5, 6, 7]
        for future in promoted:
            future.result(TIMEOUT_S)
    assert verify(repository).problems == ()
    assert pinned(repository) == policy(record(repository).serving)


KILLED = """
import sys, time
from pathlib import Path
from glioserve_registry.layout import serving
from glioserve_registry.promoting import promotion
from support.server.stand_in_server import StandInServer

def stuck(*_):
    print("there", flush=True)
    time.sleep(60)

repository, where = Path(sys.argv[1]), sys.argv[2]
server = StandInServer(repository)
if where == "before the configurations":
    serving.write_configs = stuck
elif where == "between two configurations":
    real, count = serving.write_if_changed, []
    def some(path, content):
        count.append(path)
        if len(count) == 4:
            stuck()
        return real(path, content)
    serving.write_if_changed = some
elif where == "before the load":
    server.before_load = stuck
elif where == "after the canary":
    server.canary = stuck
promotion.promote(repository, 2, [server])
"""
WHERE = ("before the configurations", "between two configurations", "before the load", "after the canary")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("then", ["promote it again", "promote another", "roll back"])
def test_a_promotion_that_is_killed_is_told_and_mended(repository: Path, where: str, then: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(repository), where],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(TIMEOUT_S)
    told = "\n".join(verify(repository).problems)
    assert "a promote from version 1 to 2, begun" in told
    assert "was cut off" in told
    server = StandInServer(repository)
    if then == "roll back":
        done, wanted = rollback(repository, [server]), 1
    else:
        wanted = 2 if then == "promote it again" else 3
        done = promote(repository, wanted, [server])
    assert done.cut_off is not None
    assert done.cut_off.to_version == 2
    assert (done.version, server.loaded) == (wanted, wanted)
    assert pinned(repository) == policy(wanted)
    found = record(repository)
    assert (found.serving, found.begun) == (wanted, None)
    assert found.previous == (None if wanted == 1 else 1)
    assert [c.undone for c in found.history if c.undone] == [serving.CUT_OFF]
    assert verify(repository).problems == ()


def test_a_reader_never_sees_half_a_record(repository: Path) -> None:
    done = threading.Event()

    def read() -> int:
        count = 0
        while not done.is_set():
            assert serving_version(repository) in (1, 2, 3)
            assert len(pinned(repository)) <= 2
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for version in (2, 3, 1) * 5:
            promote(repository, version)
        done.set()
        assert all(reader.result(TIMEOUT_S) > 0 for reader in readers)
