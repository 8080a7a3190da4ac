"""Heads kept on disk, so that training does not wait for their distances and noise."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from glioserve_dicom.files.replacing import replacing
from glioserve_training.brain.head import SyntheticHead, make_head

VERSION = 1
"""Version of what :func:`head.make_head` makes: raised when a seed gives another head, so that no old one is taken."""


def make_bank(folder: Path, first_seed: int, count: int, workers: int) -> list[Path]:
    """Make the files of heads ``first_seed`` to ``first_seed + count - 1``; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"head-v{VERSION}-{seed:06d}.npz" for seed in range(first_seed, first_seed + count)]
    missing = [(file, first_seed + i) for i, file in enumerate(files) if not file.exists()]
    if missing:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in tqdm(pool.map(_write, missing), total=len(missing), desc="heads"):
                pass
    return files


def load_head(file: Path) -> SyntheticHead:
    """Read a head of the bank."""
    with np.load(file, allow_pickle=False) as arrays:
        return SyntheticHead(arrays["labels"], arrays["distance"])


def _write(job: tuple[Path, int]) -> None:
    file, seed = job
    head = make_head(seed)
    with replacing(file) as beside, beside.open("xb") as out:
        np.savez_compressed(out, labels=head.labels, distance=head.distance)
