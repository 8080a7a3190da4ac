"""Studies of the load: one whose preprocessing is kept, and whole ones."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from glioserve_client import VolumeStudy
from glioserve_client.study import Volume
from glioserve_contract import Modality
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_phantom import Phantom, make_phantom
from glioserve_preprocess.pipeline import preprocess_volumes
from glioserve_triton.served.promotions import load_serving

SHRINK = 3
_KEEPING = '''


import hashlib
import pickle

_WORK, _KEPT, _FOLDER = preprocess_volumes, {}, Path(__file__).with_name("kept")


def preprocess_volumes(volumes, recipe, *, check, **options):
    """Hand on the result of the study that is kept, and work on any other."""
    check()
    key = hashlib.sha1(b"".join(volumes[m].voxels.tobytes() for m in sorted(volumes))).hexdigest()
    if key not in _KEPT:
        file = _FOLDER / key
        if not file.exists():
            return _WORK(volumes, recipe, check=check, **options)
        _KEPT[key] = pickle.loads(file.read_bytes())
    return _KEPT[key]
'''
"""Added to the adapter of preprocess, which is otherwise as it is served."""


def keep_results(repository: Path, *studies: VolumeStudy) -> None:
    """Have ``preprocess`` hand on the results of these studies, which are worked on here, once.

    A study of three sequences is seconds of work. So that each fault meets many studies, most are one and the same;
    everything but its preprocessing is done anew each time. Any other study is worked on as it is served.
    """
    adapter = repository / "preprocess" / "1" / "model.py"
    adapter.write_text(adapter.read_text(encoding="utf-8") + _KEEPING, encoding="utf-8")
    folder = adapter.with_name("kept")
    folder.mkdir(exist_ok=True)
    recipe = load_serving(repository).manifest.recipe
    for study in studies:
        volumes = {m: volume_of_array(m, v.voxels, v.lps_from_voxel) for m, v in study.volumes.items()}
        voxels = b"".join(volumes[m].voxels.tobytes() for m in sorted(volumes))
        name = hashlib.sha1(voxels, usedforsecurity=False).hexdigest()
        done = preprocess_volumes(volumes, recipe)
        untimed = replace(done.record, timings_s=dict.fromkeys(done.record.timings_s, 0.0))  # no stage works on it
        (folder / name).write_bytes(pickle.dumps(replace(done, record=untimed)))


@lru_cache
def phantom_of(seed: int) -> Phantom:
    """Return the phantom of a seed, drawn once."""
    return make_phantom(seed, "recurrence")


class Studies:
    """A phantom's three sequences as volumes, their in-plane voxels thinned out by ``shrink``."""

    def __init__(self, seed: int = 7, shrink: int = SHRINK) -> None:
        phantom = phantom_of(seed)
        self._volumes = {}
        for modality in (Modality.T1, Modality.T1CE, Modality.T2):
            full = phantom.volume(modality)
            matrix = full.geometry.lps_from_voxel.copy()
            steps = [shrink if size > 100 else 1 for size in full.voxels.shape[::-1]]
            matrix[:3, :3] *= steps
            self._volumes[modality] = Volume(full.voxels[:: steps[2], :: steps[1], :: steps[0]], matrix)
        self._draw = np.random.default_rng(seed)

    def same(self) -> VolumeStudy:
        """Return the study that is equal each time."""
        return VolumeStudy(self._volumes)

    def other(self) -> VolumeStudy:
        """Return a study with a little noise of its own, whose result is not kept."""
        volume = self._volumes[Modality.T1CE]
        noise = self._draw.normal(0, 1e-3, volume.voxels.shape).astype(np.float32)
        return VolumeStudy({**self._volumes, Modality.T1CE: Volume(volume.voxels + noise, volume.lps_from_voxel)})
