"""Fixtures and hooks of every test."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from glioserve_preprocess.no_telemetry import forbid_telemetry
from support import schemas

forbid_telemetry()  # before any module takes an inference runtime
schemas.watch()  # before any module takes the contract's codec
# A loaded machine is slow, and no test asserts a time. Every run has the same examples: `make fuzz` looks for new ones.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")

TESTS = Path(__file__).parent
ONE_WORKER = ("integration", "evaluation")
"""Folders whose tests share a server or a run that takes longer than its tests: one worker runs them all."""
FIRST = ("integration", "evaluation", "triton_server", "export")
"""Folders with the longest groups: begun first, so that no worker is left alone with one at the end."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook of its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for ``pytest -n 3 --dist loadgroup``: a file, or a whole folder, is one worker's."""
    order = {folder: number for number, folder in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(_folder(item), len(order)))
    for item in items:
        folder = _folder(item)
        item.add_marker(pytest.mark.xdist_group(folder if folder in ONE_WORKER else str(item.path)))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking again and again at what lives as long as the run: tests and modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


class SignalStack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2)."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@pytest.fixture(scope="session")
def _first_signal_stack() -> SignalStack:
    """The one that the run began with: pytest's fault handler's."""
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@pytest.fixture(autouse=True)
def _signal_stack(_first_signal_stack: SignalStack) -> Iterator[None]:
    """The alternate signal stack is never one that is gone.

    Every OpenVINO core puts back, at its end, the stack that it found at its beginning. Where several lived at once, as
    in the tests of its backend, that one may be gone, and the next signal (a child's end) would end the whole run.
    """
    yield
    ctypes.CDLL(None).sigaltstack(ctypes.byref(_first_signal_stack), None)
