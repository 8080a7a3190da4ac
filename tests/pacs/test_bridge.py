"""The bridge's states: what makes it answer a study, answer it anew, wait, or leave it alone."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_pacs.archives import Query
from glioserve_pacs.bridge import MOST_SERVER_FAILURES
from glioserve_pacs.records.study import Phase
from support.pacs.pacs_fakes import COMPLETE, OTHER, STUDY, Site, study_of


def test_a_complete_and_stable_study_is_answered_once(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert site.server.asked == [STUDY]
    assert sorted(site.pacs.stored_times.values()) == [1, 1]
    assert not any(path.is_dir() for name in ("images", "results") for path in (site.folder / name).iterdir())


def test_a_study_waits_until_no_image_has_come_for_a_while(site: Site) -> None:
    site.pacs.add("t1 1", "t1ce 1")
    with site.bridge() as bridge:
        for number in range(5):
            bridge.poll()
            assert not bridge.step()
            site.clock.now += 59
            site.pacs.add(f"dwi {number}")  # any new image starts the time anew
        bridge.poll()
        site.clock.now += 59
        assert not bridge.step()
        site.clock.now += 2
        assert bridge.step()
    assert site.server.asked == []  # complete; asked in the next step


def test_an_image_that_came_since_the_last_look_keeps_a_study_waiting(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now += 61
        site.pacs.add("dwi 1")
        assert bridge.step()
        assert study_of(bridge).phase is Phase.WAITING
        assert not bridge.step()


def test_time_alone_does_not_make_a_study_complete(site: Site) -> None:
    site.pacs.add("t1 1", "dwi 1")
    with site.bridge() as bridge:
        site.settle(bridge)
        site.clock.now += 1e6
        site.settle(bridge)
        study = study_of(bridge)
        assert (study.phase, study.code) == (Phase.INCOMPLETE, "GLIO-1301")
        assert site.server.asked == []
        site.pacs.add("t1ce 1")
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert site.server.asked == [STUDY]


def test_a_better_series_leads_to_an_answer_that_supersedes(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
        site.pacs.add("t1ce 2")
        site.settle(bridge)
    first, second = site.pacs.reports_of()
    assert "PredecessorDocumentsSequence" not in first
    assert [i.ReferencedSOPInstanceUID for i in second.PredecessorDocumentsSequence] == [first.SOPInstanceUID]
    assert site.server.asked == [STUDY, STUDY]
    page = generate_latest(site.metrics.registry).decode()
    assert 'glioserve_pacs_answers_stored_total{kind="first"} 1.0' in page
    assert 'glioserve_pacs_answers_stored_total{kind="superseding"} 1.0' in page


def test_a_late_series_that_the_recipe_does_not_take_changes_nothing(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
        site.pacs.add("dwi 1", "t1ce 0")
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert site.server.asked == [STUDY]
    assert "answer still stands" in site.log()


@pytest.mark.parametrize("tells_counts", [True, False])
def test_own_results_never_trigger_it(site: Site, tells_counts: bool) -> None:
    site.pacs.results_look_like_images = True  # a PACS that lists them as MR images
    site.pacs.tells_counts = tells_counts
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        for _ in range(3):
            site.settle(bridge)
    assert site.server.asked == [STUDY]
    assert len(site.pacs.results) == 2


def test_the_same_images_sent_twice_change_nothing(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        site.settle(bridge)
        site.pacs.add(*COMPLETE)
        site.settle(bridge)
    assert site.server.asked == [STUDY]


def test_a_new_version_answers_a_study_that_is_named_and_no_other(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.add(*COMPLETE, study=OTHER)
    with site.bridge() as bridge:
        site.settle(bridge)
    site.server.serving = "2"
    with site.bridge() as bridge:
        site.settle(bridge)
    assert len(site.server.asked) == 2
    for _ in range(2):  # the second time it is answered already
        with site.bridge(queries=(Query(study_instance_uid=STUDY),)) as bridge:
            site.settle(bridge)
    assert site.server.asked[2:] == [STUDY]
    first, second = site.pacs.reports_of()
    assert second.PredecessorDocumentsSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_a_study_that_is_named_must_be_there(site: Site) -> None:
    with site.bridge(queries=(Query(study_instance_uid=STUDY),)) as bridge, pytest.raises(GlioserveError) as caught:
        bridge.poll()
    assert caught.value.code is ErrorCode.STUDY_NOT_FOUND


def test_images_that_come_while_the_server_works_lead_to_another_answer(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now += 61
        bridge.step()

        def while_it_works() -> None:
            site.pacs.add("t1 2")
            bridge.poll()

        site.server.after = while_it_works
        bridge.step()
        assert study_of(bridge).phase is Phase.WAITING  # that answer is of old images, and is dropped
        site.server.after = lambda: None
        site.settle(bridge)
    assert len(site.pacs.reports_of()) == 1
    assert site.server.asked == [STUDY, STUDY]


def test_images_that_come_before_results_are_stored_supersede_them(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now += 61
        bridge.step()
        bridge.step()
        assert study_of(bridge).phase is Phase.ANSWERED
        site.pacs.add("t1 2")
        site.settle(bridge)
        site.settle(bridge)
    first, second = site.pacs.reports_of()
    assert second.PredecessorDocumentsSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_a_pacs_that_is_down_delays_and_loses_nothing(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now += 61
        bridge.step()
        bridge.step()
        site.pacs.down = True
        bridge.step()
        pauses = [bridge.poll() for _ in range(4)]
        study = study_of(bridge)
        assert (study.phase, study.code) == (Phase.ANSWERED, "GLIO-4201")
        assert not bridge.step()
        assert pauses == sorted(pauses)
        assert pauses[0] < pauses[-1]
        site.pacs.down = False
        bridge.poll()
        assert bridge.step()  # at once: it need not wait for its turn
        assert study_of(bridge).phase is Phase.STORED
        bridge.report()
    assert site.server.asked == [STUDY]
    events = [event["event"] for event in site.events()]
    assert events.count("pacs failed") == 1
    assert "pacs reachable" in events


def test_a_pacs_that_is_down_at_the_start_is_waited_for(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.down = True
    with site.bridge(once=True) as bridge, pytest.raises(GlioserveError) as caught:
        bridge.run(lambda: False)
    assert caught.value.code is ErrorCode.PACS_UNREACHABLE
    with site.bridge() as bridge:
        bridge.poll()
        site.pacs.down = False
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED


def test_the_queue_is_bounded(site: Site) -> None:
    uids = [f"1.2.3.{number}" for number in range(5)]
    for uid in uids:
        site.pacs.add(*COMPLETE, study=uid)
    with site.bridge(most_under_way=2) as bridge:
        bridge.poll()
        assert len(bridge._state.known()) == 2
        for _ in range(3):
            site.settle(bridge)
    assert sorted(site.server.asked) == uids  # the others stayed in the PACS and had their turn
    assert "glioserve_pacs_deferred_total" in generate_latest(site.metrics.registry).decode()


@pytest.mark.parametrize(
    ("code", "phase"),
    [
        (ErrorCode.UNAVAILABLE, Phase.READY),
        (ErrorCode.UNAUTHENTICATED, Phase.READY),
        (ErrorCode.PREPROCESSING_MISMATCH, Phase.READY),
        (ErrorCode.NOT_FILED, Phase.REFUSED),
        (ErrorCode.BRAIN_NOT_FOUND, Phase.REFUSED),
        (ErrorCode.INTERNAL, Phase.REFUSED),
    ],
)
def test_a_study_is_refused_for_its_own_fault_alone(site: Site, code: ErrorCode, phase: Phase) -> None:
    site.pacs.add(*COMPLETE)
    site.server.fails = [GlioserveError(code)]
    with site.bridge() as bridge:
        site.settle(bridge)
        study = study_of(bridge)
        assert (study.phase, study.code) == (phase, code.token)
        site.pacs.add("t1 2")
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED  # new images are a new chance


def test_a_study_that_brings_the_server_down_again_and_again_is_refused(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.server.fails = [GlioserveError(ErrorCode.STAGE_LOST) for _ in range(20)]
    assert site.server.fails[0].retryable
    with site.bridge() as bridge:
        for _ in range(20):
            site.clock.now += 1000
            site.settle(bridge)
        assert study_of(bridge).phase is Phase.REFUSED
    assert len(site.server.asked) == MOST_SERVER_FAILURES


def test_results_that_are_lost_are_made_again(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now += 61
        bridge.step()
        bridge.step()
        bridge._files.drop_results(STUDY)
        site.settle(bridge)
        assert study_of(bridge).phase is Phase.STORED
    assert len(site.pacs.results) == 2


def test_dry_run_asks_no_server_and_stores_nothing(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    with site.bridge(dry_run=True) as bridge:
        site.settle(bridge)
    assert site.server.asked == []
    assert site.pacs.results == {}
    assert "would be answered" in site.log()


def test_once_ends_and_says_what_became_of_each_study(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.pacs.add("t1 1", study=OTHER)
    with site.bridge(once=True, stable_s=0.0) as bridge:
        bridge.run(lambda: False)
        found = {study.study_instance_uid: (study.phase, study.code) for study in bridge.outcomes()}
    assert found == {STUDY: (Phase.STORED, ""), OTHER: (Phase.INCOMPLETE, "GLIO-1301")}


def test_no_identity_reaches_the_log_the_metrics_or_the_names_of_files(site: Site) -> None:
    site.pacs.add(*COMPLETE)
    site.server.fails = [GlioserveError(ErrorCode.UNAVAILABLE)]
    with site.bridge() as bridge:
        bridge.poll()
        site.clock.now += 61
        while bridge.step():
            pass
        names = [str(path) for path in site.folder.rglob("*")]
        site.settle(bridge)
    page = generate_latest(site.metrics.registry).decode()
    for text in (site.log(), page, *site.told, *names):
        assert "1.2.840" not in text
    subjects = {event.get("subject") for event in site.events()} - {None}
    assert len(subjects) == 1
