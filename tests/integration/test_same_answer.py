"""A request has the same bytes of score and heat map: beside others, in any batch, after a restart, as any user."""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_client import DicomStudy, GliomaClient
from glioserve_contract.limits import MAX_CLASSIFIER_BATCH
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.pipeline import preprocess_dicom
from support.server.serve import children, serving

from .conftest import ROOT

pytestmark = [pytest.mark.triton, pytest.mark.long]
BATCH_TOLERANCE = 1e-6
"""Share of the largest value by which a batch may change the classifier's outputs: its size may choose another kernel
(docs/wire.md). ONNX Runtime's on a CPU have shown no difference at all."""
NOBODY = 65534


def said(prediction):
    return prediction.score, prediction.heatmap.voxels.tobytes()


@pytest.fixture(scope="module")
def neighbour():
    return dicom_files(make_phantom(22, "necrosis"), identified=False)


@pytest.fixture(scope="module")
def alone(client, files):
    return said(client.predict(DicomStudy.from_bytes(files)))


def test_neighbours_and_instances_change_nothing(client, files, neighbour, alone):
    """More studies at once than there are instances of preprocess, so that both work and the classifier may batch."""
    study, other = DicomStudy.from_bytes(files), DicomStudy.from_bytes(neighbour)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(client.predict, [study, other, study]))
    assert [said(answers[n]) == alone for n in (0, 2)] == [True, True]
    assert said(answers[1]) != alone


def test_a_batchs_size_and_place_change_nothing_that_counts(server, offline, files, neighbour):
    def preprocessed(contents):
        return preprocess_dicom(contents, offline.recipe, accept_identified=False).image

    with ThreadPoolExecutor(3) as pool:
        image, other, again = pool.map(preprocessed, [files, neighbour, files])
    np.testing.assert_array_equal(image, again)  # threads of one process change nothing either
    with triton.InferenceServerClient(server.grpc_url) as connected:

        def ask(batch):
            sent = triton.InferInput("IMAGE", batch.shape, "FP32")
            sent.set_data_from_numpy(batch)
            answer = connected.infer("classifier", [sent])
            return answer.as_numpy("LOGITS"), answer.as_numpy("CAM")

        wanted = [output[0] for output in ask(image[np.newaxis])]
        for size, place in ((2, 0), (3, 2), (MAX_CLASSIFIER_BATCH, MAX_CLASSIFIER_BATCH - 1)):
            batch = np.stack([other] * size)
            batch[place] = image
            for found, want in zip(ask(batch), wanted, strict=True):
                assert np.abs(found[place] - want).max() <= BATCH_TOLERANCE * np.abs(want).max()


# --- As any user, without capabilities, where nothing can be written ---

MODELS = Path("/srv")
"""Path under which the confined server finds its repository, in a namespace of its own."""
NEEDED = (Path(sys.base_prefix), ROOT)
"""Folders that the user must be able to read: the interpreter's and the checkout's, with its environment."""
SCRIPT = """
set -e
mount --bind "{repository}" {models}
{opened}
for at in {models} {read_only} /; do mount -o remount,bind,ro "$at"; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
export TMPDIR=/tmp HOME=/tmp
exec setpriv --reuid {user} --regid {user} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def opened(room):
    """Shell lines that lay an open way over folders that only their owner may pass through, as ``/root`` is."""
    closed = {path: next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None) for path in NEEDED}
    lines = [f'mkdir -p "{room}/{n}"; mount --bind "{path}" "{room}/{n}"' for n, path in enumerate(NEEDED)]
    lines += [f'mount -t tmpfs -o mode=0755 tmpfs "{folder}"' for folder in {*closed.values()} - {None}]
    lines += [f'mkdir -p "{path}"; mount --bind "{room}/{n}" "{path}"' for n, path in enumerate(NEEDED) if closed[path]]
    ends = [str(path) for path in NEEDED if closed[path]]
    ends += [str(folder) for folder in closed.values() if folder]
    return "\n".join(lines), ends


@pytest.fixture
def confined(repository):
    """A command's prefix that confines it as the chart does."""
    if not MODELS.is_dir() or any(path.is_relative_to("/tmp") for path in NEEDED):
        pytest.skip("this machine has no /srv, or the checkout is in /tmp, which the server gets anew")
    room = Path(tempfile.mkdtemp())
    try:
        ways, ends = opened(room)
        ends += [f'"$(findmnt -n -o TARGET --target "{ROOT}")"']
        read_only = " ".join(ends)
        script = SCRIPT.format(repository=repository, models=MODELS, opened=ways, read_only=read_only, user=NOBODY)
        (room / "confine.sh").write_text(script)
        prefix = ("unshare", "--mount", "--propagation", "private", "sh", str(room / "confine.sh"))
        tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"this machine cannot confine a process: {tried.stderr[-200:]}")
        yield prefix
    finally:
        for path in room.iterdir():  # one by one: a folder that something is mounted on must not be emptied
            path.unlink() if path.is_file() else path.rmdir()
        room.rmdir()


def test_a_restart_as_nobody_on_a_read_only_system_says_the_same(confined, files, alone):
    """Nothing can be written but /tmp and /dev/shm, as in the chart; Triton's Python backend insists on the first."""
    with serving(MODELS, "--profile", "onnxruntime-cpu", prefix=confined) as serve:
        with GliomaClient(serve.grpc_url()) as connected:
            assert said(connected.predict(DicomStudy.from_bytes(files))) == alone
        pids = [serve.process.pid]
        for pid in pids:
            pids += children(pid)
        assert len(pids) >= 6  # supervisor, guardian, Triton, three Python stages
        for pid in pids:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            assert set(status["Uid"].split()) == {str(NOBODY)}
            assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {0}
            assert status["NoNewPrivs"] == "1"
            with pytest.raises(OSError, match="Read-only file system"):
                os.open(f"/proc/{pid}/root{ROOT}/pyproject.toml", os.O_WRONLY)
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
