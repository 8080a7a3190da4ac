"""The check between steps: what ends a request's work, by which code, and what does not."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import CLOCK_TOLERANCE_S, MAX_STUDY_S
from glioserve_triton.adapters import wanted
from glioserve_triton.adapters.wanted import still_wanted

NOW_UNIX_S = 1_764_000_000.0


class Clock:
    """Both of time's clocks, standing still until they are moved."""

    def __init__(self) -> None:
        self.passed_s = self.jumped_s = 0.0

    def time(self) -> float:
        return NOW_UNIX_S + self.passed_s + self.jumped_s

    def monotonic(self) -> float:
        return 5.0 + self.passed_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(wanted, "time", made)
    return made


def request(cancelled: bool = False, **parameters: Any) -> Any:
    return SimpleNamespace(is_cancelled=lambda: cancelled, parameters=lambda: json.dumps(parameters))


def deadline(in_s: float) -> int:
    return int((NOW_UNIX_S + in_s) * 1000)


def code(check: Any) -> ErrorCode | None:
    try:
        check()
    except GlioserveError as error:
        return error.code
    return None


def test_a_request_without_a_deadline_is_worked_on_up_to_the_limit(clock: Clock) -> None:
    check = still_wanted(request())
    assert code(check) is None
    clock.passed_s = MAX_STUDY_S
    assert code(check) is None
    clock.passed_s = MAX_STUDY_S + 0.1
    with pytest.raises(GlioserveError, match=f"after {MAX_STUDY_S:g} s") as caught:
        check()
    assert caught.value.code is ErrorCode.STUDY_TIMEOUT


def test_a_deadline_ends_what_waits_and_what_runs(clock: Clock) -> None:
    assert code(still_wanted(request(deadline_unix_ms=deadline(-60)))) is ErrorCode.DEADLINE_PASSED
    check = still_wanted(request(deadline_unix_ms=deadline(10)))
    assert code(check) is None
    clock.passed_s = 10 + CLOCK_TOLERANCE_S - 0.1
    assert code(check) is None  # the clocks of two machines are never quite the same
    clock.passed_s = 10 + CLOCK_TOLERANCE_S + 0.1
    assert code(check) is ErrorCode.DEADLINE_PASSED


def test_a_wall_clock_that_jumps_ends_no_study_but_by_a_stated_deadline(clock: Clock) -> None:
    unbounded, bounded = still_wanted(request()), still_wanted(request(deadline_unix_ms=deadline(10)))
    for jump_s in (3600.0, -86400.0):
        clock.jumped_s = jump_s
        assert code(unbounded) is None
        assert code(bounded) is (ErrorCode.DEADLINE_PASSED if jump_s > 0 else None)
    clock.passed_s = MAX_STUDY_S + 0.1
    assert code(unbounded) is ErrorCode.STUDY_TIMEOUT


def test_a_caller_who_left_is_told_apart(clock: Clock) -> None:
    assert code(still_wanted(request(cancelled=True, deadline_unix_ms=deadline(-60)))) is ErrorCode.CANCELLED


def test_a_deadline_in_seconds_is_refused_and_not_taken_for_one_long_ago() -> None:
    with pytest.raises(GlioserveError) as caught:
        still_wanted(request(deadline_unix_ms=int(time.time())))
    assert caught.value.code is ErrorCode.INVALID_PARAMETER
