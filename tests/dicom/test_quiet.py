"""The silencer holds in its own thread alone, whatever other threads do with filters meanwhile."""

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from glioserve_dicom.files.quiet import quiet

LOG = logging.getLogger("pydicom")
BELOW = logging.getLogger("pydicom.below")


def warn(module="pydicom.filereader", category=UserWarning):
    warnings.warn_explicit("a value", category, "file.py", 1, module=module)


def test_warnings_and_log_lines_go_nowhere_inside_and_everywhere_outside(caplog):
    with quiet("pydicom"):
        warn()
        warn("glioserve_client.study")  # a stack level names the caller
        LOG.warning("inside")
        BELOW.warning("inside")
    assert not caplog.records
    LOG.warning("outside")
    assert [r.message for r in caplog.records] == ["outside"]
    with pytest.warns(UserWarning, match="a value"):
        warn()


def test_our_own_numeric_warnings_are_not_hidden():
    with quiet("pydicom"), pytest.raises(RuntimeWarning):
        warn("glioserve_dicom.slices.decode", RuntimeWarning)


def test_blocks_nest_and_an_error_leaves_them():
    with quiet("pydicom"):
        with pytest.raises(ValueError, match="mine"), quiet("nibabel"):
            raise ValueError("mine")
        warn()
    with pytest.warns(UserWarning, match="a value"):
        warn()


def test_another_thread_is_heard_while_one_is_silent(caplog):
    inside, done = threading.Event(), threading.Event()

    def silent():
        with quiet("pydicom"):
            inside.set()
            done.wait(20)
            LOG.warning("silent")

    thread = threading.Thread(target=silent)
    thread.start()
    assert inside.wait(20)
    LOG.warning("heard")
    with pytest.warns(UserWarning, match="a value"):
        warn()
    done.set()
    thread.join()
    assert [r.message for r in caplog.records] == ["heard"]


def test_many_threads_that_overlap_are_all_silent_and_leave_nothing_behind(caplog):
    def work(_):
        for _ in range(50):
            with quiet("pydicom"):
                warn()
                LOG.warning("a value")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert not caplog.records
    with pytest.warns(UserWarning, match="a value"):
        warn()
