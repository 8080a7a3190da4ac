"""Odd orders of things at a PACS: none keeps other studies waiting, none is answered or stored twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import FoundStudy, Image, Query
from glioserve_pacs.bridge import LONGEST_PAUSE_S, MOST_REFUSALS, Bridge
from glioserve_pacs.records.state import State
from glioserve_pacs.records.study import Phase
from support.pacs.pacs_fakes import COMPLETE, OTHER, STUDY, Site, study_of


def failures(site: Site, code: ErrorCode) -> float:
    return site.metrics.registry.get_sample_value("glioserve_pacs_failures_total", {"code": code.token}) or 0.0


def test_a_study_whose_images_are_listed_as_garbage_keeps_no_other_one_waiting(site: Site) -> None:
    site.pacs.add(*COMPLETE, study=OTHER)
    site.pacs.add(*COMPLETE)
    site.pacs.not_listed = {OTHER}
    with site.bridge() as bridge:
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
        assert study_of(bridge, OTHER).code == ErrorCode.PACS_ANSWER_MALFORMED.token
        site.pacs.not_listed.clear()
        site.clock.now += LONGEST_PAUSE_S
        site.settle(bridge)
        assert study_of(bridge, OTHER).phase is Phase.STORED
    assert sorted(site.server.asked) == sorted([STUDY, OTHER])


def test_a_stored_study_whose_images_become_garbage_is_looked_at_until_they_are_listed(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
        site.pacs.add("t1 2")
        site.pacs.not_listed = {STUDY}
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.WAITING
        site.pacs.not_listed.clear()
        site.clock.now += LONGEST_PAUSE_S
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert len(site.pacs.reports_of()) == 2


def test_a_study_that_cannot_be_asked_for_is_told_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pacs.add(*COMPLETE)
    find = site.pacs.find
    monkeypatch.setattr(site.pacs, "find", lambda query: [FoundStudy(""), *find(query)])
    with site.bridge() as bridge:
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert [line["event"] for line in site.events()].count("study without a uid") == 1
    assert failures(site, ErrorCode.PACS_ANSWER_MALFORMED) == 2  # at each look


@pytest.mark.parametrize("back_s", [3600.0, 5e8])
def test_a_clock_that_is_set_back_delays_a_study_by_its_own_wait_alone(site: Site, back_s: float) -> None:
    site.pacs.add(*COMPLETE)
    site.server.fails = [GlioserveError(ErrorCode.UNAVAILABLE)]
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now -= back_s
        bridge.poll()
        assert not bridge.step()  # stable anew, by the clock as it is now
        site.clock.now += 61
        bridge.poll()
        assert bridge.step()
        assert bridge.step()
        assert study_of(bridge).phase is Phase.READY  # postponed
        site.clock.now -= back_s
        bridge.poll()
        site.clock.now += LONGEST_PAUSE_S
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED


def stored_again_and_again(site: Site, bridge: Bridge) -> None:
    for _ in range(MOST_REFUSALS + 3):
        site.settle(bridge)
        site.clock.now += LONGEST_PAUSE_S


def test_a_kind_of_result_that_the_pacs_does_not_take_is_left_out_at_last(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.takes_not = frozenset({str(SegmentationStorage)})
    with site.bridge() as bridge:
        site.settle(bridge)
        study = study_of(bridge)
        assert (study.phase, study.code) == (Phase.ANSWERED, ErrorCode.PACS_REFUSED.token)
        assert len(site.pacs.reports_of()) == 1  # at the first attempt
        stored_again_and_again(site, bridge)
        study = study_of(bridge)
        assert (study.phase, study.code) == (Phase.REFUSED, ErrorCode.PACS_REFUSED.token)
        assert failures(site, ErrorCode.PACS_REFUSED) == MOST_REFUSALS
        (first,) = site.pacs.reports_of()
        site.pacs.takes_not = frozenset()
        site.pacs.add("t1 2")
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    _, later = site.pacs.reports_of()
    (predecessor,) = later.PredecessorDocumentsSequence
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert set(site.pacs.stored_times.values()) == {1}
    assert len(site.server.asked) == 2


def test_a_pacs_that_takes_no_report_has_no_answer(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.takes_not = frozenset({str(Comprehensive3DSRStorage)})
    with site.bridge(most_under_way=1) as bridge:
        stored_again_and_again(site, bridge)
        assert study_of(bridge).phase is Phase.REFUSED
        site.pacs.takes_not = frozenset()
        site.pacs.add("t1 2")
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    (report,) = site.pacs.reports_of()
    assert "PredecessorDocumentsSequence" not in report


def test_a_refused_result_does_not_make_the_pacs_unreachable(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.takes_not = frozenset({str(SegmentationStorage)})
    with site.bridge() as bridge:
        site.settle(bridge)
    assert site.metrics.registry.get_sample_value("glioserve_pacs_reachable") == 1
    assert "pacs failed" not in [line["event"] for line in site.events()]


@pytest.mark.parametrize("named", [True, False])
def test_once_takes_every_study_although_the_queue_is_small(site: Site, named: bool) -> None:
    uids = [f"1.2.3.{number}" for number in range(5)]
    for uid in uids:
        site.pacs.add(*COMPLETE, study=uid)
    queries = tuple(Query(study_instance_uid=uid) for uid in uids) if named else ()
    with site.bridge(once=True, stable_s=0.0, most_under_way=2, queries=queries) as bridge:
        bridge.run(lambda: False)
        assert {study.phase for study in bridge.outcomes()} == {Phase.STORED}
    assert sorted(site.server.asked) == uids


def test_once_ends_where_studies_that_fail_fill_the_queue(site: Site) -> None:
    for number in range(5):
        site.pacs.add(*COMPLETE, study=f"1.2.3.{number}")
    site.server.fails = [GlioserveError(ErrorCode.UNAVAILABLE) for _ in range(5)]
    with site.bridge(once=True, stable_s=0.0, most_under_way=2) as bridge:
        bridge.run(lambda: False)
        assert {study.code for study in bridge.outcomes()} == {ErrorCode.UNAVAILABLE.token}


def test_a_study_that_brings_a_fault_to_light_keeps_no_other_one_waiting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.add(*COMPLETE, study=OTHER)
    answer = site.server.answer

    def faulty(folder: Path, predecessor: object, uid: str) -> object:
        if uid == OTHER:
            raise ZeroDivisionError("of Mr Secret")
        return answer(folder, predecessor, uid)  # type: ignore[arg-type]

    monkeypatch.setattr(site.server, "answer", faulty)
    with site.bridge() as bridge:
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
        study = study_of(bridge, OTHER)
        assert (study.phase, study.code) == (Phase.REFUSED, ErrorCode.INTERNAL.token)
    (fault,) = (line for line in site.events() if line["event"] == "fault")
    assert (fault["kind"], fault["place"].split(":")[0]) == ("ZeroDivisionError", "test_odd_orders.py")
    assert "Secret" not in site.log()


def test_images_that_are_gone_when_they_are_fetched_make_the_study_wait_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pacs.add(*COMPLETE, "dwi 1", "dwi 2")
    fetch = site.pacs.fetch

    def deleted_meanwhile(uid: str, images: list[Image], keep: object) -> None:
        gone = [image for image, content in site.pacs.images_of[uid].items() if content == "dwi 1"]
        for image in gone:
            del site.pacs.images_of[uid][image]
        fetch(uid, [image for image in images if image not in gone], keep)  # type: ignore[arg-type]

    monkeypatch.setattr(site.pacs, "fetch", deleted_meanwhile)
    with site.bridge() as bridge:
        site.settle(bridge)
        assert study_of(bridge).code == ErrorCode.PACS_ANSWER_MALFORMED.token
        for _ in range(3):
            site.clock.now += LONGEST_PAUSE_S
            site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert site.server.asked == [STUDY]


def test_two_bridges_with_states_of_their_own_store_the_same_results_once(site: Site, tmp_path: Path) -> None:
    """A state folder that is lost, or a second bridge: results of the same answer have the same UIDs."""
    site.pacs.add(*COMPLETE)
    (tmp_path / "second").mkdir()
    second = Site(tmp_path / "second", pacs=site.pacs, server=site.server, clock=site.clock)
    for each in (site, second):
        with each.bridge() as bridge:
            each.settle(bridge)
            assert study_of(bridge).phase is Phase.STORED
    assert len(site.server.asked) == 2
    assert set(site.pacs.stored_times.values()) == {1}


def full_state(state: State) -> None:
    """Let the database grow no further, as on a full disk."""
    (pages,) = state._db.execute("PRAGMA page_count").fetchone()
    state._db.execute(f"PRAGMA max_page_count = {pages}")


def test_a_database_on_a_full_disk_ends_the_bridge_with_its_code_and_loses_nothing(site: Site) -> None:
    for number in range(60):
        site.pacs.add(*COMPLETE, study=f"1.2.3.{number}")
    with site.bridge(most_under_way=500) as bridge:
        full_state(bridge._state)
        with pytest.raises(GlioserveError) as caught:
            bridge.poll()
        assert caught.value.code is ErrorCode.BRIDGE_STATE
        assert "full" in caught.value.detail
    with site.bridge(most_under_way=500) as bridge:
        site.settle(bridge)
        assert {study.phase for study in bridge._state.known()} == {Phase.STORED}
    assert len(site.server.asked) == len(set(site.server.asked)) == 60


def test_a_damaged_database_is_told_by_its_code(tmp_path: Path) -> None:
    file = tmp_path / "bridge.sqlite"
    state = State(file, str)
    for number in range(300):
        state.seen(f"1.2.{number}", "a" * 32, 1, images=1)
    state.close()
    content = bytearray(file.read_bytes())
    for page in range(4096, len(content), 4096):  # the first page is whole: it opens
        content[page : page + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    damaged = State(file, str)
    with pytest.raises(GlioserveError) as caught:
        damaged.seen("1.2.3", "b" * 32, 1, images=1)
    damaged.close()
    assert caught.value.code is ErrorCode.BRIDGE_STATE
