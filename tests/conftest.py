"""What holds for every test."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest


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
