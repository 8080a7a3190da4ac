"""Studies of the load: one that is cheap from its second time on, and whole ones that never are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from glioserve_client import VolumeStudy
from glioserve_client.study import Volume
from glioserve_contract import Modality
from glioserve_phantom import Phantom, make_phantom

SHRINK = 3
_KEEPING = '''


_WORK, _KEPT = preprocess_volumes, {}


def preprocess_volumes(volumes, recipe, *, check, **options):
    """Work on a study once in this process, and hand the result on when the very same voxels come again."""
    check()
    key = hash(b"".join(volumes[m].voxels.tobytes() for m in sorted(volumes)))
    result = _KEPT.pop(key, None) or _WORK(volumes, recipe, check=check, **options)
    _KEPT[key] = result  # the latest last
    if len(_KEPT) > 2:
        del _KEPT[next(iter(_KEPT))]
    return result
'''
"""Added to the adapter of preprocess, which is otherwise as it is served."""


def keep_results(repository: Path) -> None:
    """Have each process of ``preprocess`` keep the results of its last studies.

    A study of three sequences is seconds of work. So that each fault meets many studies, most callers send one and
    the same; everything but its preprocessing is done anew each time.
    """
    adapter = repository / "preprocess" / "1" / "model.py"
    adapter.write_text(adapter.read_text(encoding="utf-8") + _KEEPING, encoding="utf-8")


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
        """Return a study with a little noise of its own, which no process has worked on."""
        volume = self._volumes[Modality.T1CE]
        noise = self._draw.normal(0, 1e-3, volume.voxels.shape).astype(np.float32)
        return VolumeStudy({**self._volumes, Modality.T1CE: Volume(volume.voxels + noise, volume.lps_from_voxel)})
