"""A case from a seed and a number, the same in every process: which mutation, of what, through which way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fuzz import sources
from fuzz.entries import any_entry, server
from fuzz.mutations import (
    archives,
    attributes,
    byte_level,
    codestreams,
    crowds,
    functional_groups,
    parameters,
    studies,
    volumes,
)
from fuzz.sources import PAIR, Source
from glioserve_contract import Modality
from glioserve_contract.records.recipe import Recipe
from glioserve_preprocess.pipeline import Preprocessed, preprocess_volumes
from glioserve_preprocess.registration.register import register_all

Random = np.random.Generator
Run = Callable[[], Preprocessed | None]


@dataclass(frozen=True)
class Case:
    """One mutated study and what to do with it."""

    mutation: str
    """The class: a row of the table."""
    said: str
    """The change, what was changed, and where it goes in."""
    run: Run


def case_of(seed: int, number: int) -> Case:
    """Case ``number`` of the run with that seed."""
    rng = np.random.default_rng([seed, number])
    mutation = MUTATIONS[rng.choice(len(MUTATIONS), p=SHARES)]
    run, said = MAKERS[mutation](rng)
    return Case(mutation, said, run)


def _of_files(
    mutate: Callable[..., tuple[list[bytes], str]], pick: Callable[[Random], Source]
) -> Callable[..., tuple[Run, str]]:
    def make(rng: Random) -> tuple[Run, str]:
        source = pick(rng)
        files, said = mutate(rng, source.files)
        entry = any_entry(rng)
        return (lambda: entry(files, source.recipe)), f"{source.name}: {said}; {entry.__name__}"

    return make


def _classic(rng: Random) -> Source:
    """Native ones most often; one in twenty as a client sends them."""
    if rng.random() < 0.05:
        return sources.three_sequences()
    names = sources.SYNTAXES if rng.random() < 0.5 else sources.SYNTAXES[:2]
    return sources.classic(names[rng.integers(len(names))])


def _enhanced(rng: Random) -> Source:
    return sources.multiframe(sources.ENHANCED[rng.integers(len(sources.ENHANCED))])


def _classic_or_enhanced(rng: Random) -> Source:
    return _classic(rng) if rng.random() < 0.75 else _enhanced(rng)


def _uncompressed(rng: Random) -> Source:
    return sources.classic("explicit little endian" if rng.random() < 0.8 else "implicit VR")


def _compressed(rng: Random) -> Source:
    if rng.random() < 0.15:
        return sources.multiframe(("enhanced, RLE", "enhanced, JPEG 2000")[rng.integers(2)])
    return sources.classic(sources.COMPRESSED[rng.integers(len(sources.COMPRESSED))])


def _real(rng: Random) -> Source:
    """Scanners' own files; where the optional data is absent, the phantom."""
    names = sources.real_names()
    return sources.real(names[rng.integers(len(names))]) if names else sources.phantom()


def _any_mutation(rng: Random, files: tuple[bytes, ...]) -> tuple[list[bytes], str]:
    ways = (byte_level.mutated, attributes.mutated, studies.mutated, functional_groups.mutated)
    return ways[rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])](rng, files)


def _crowd(rng: Random) -> tuple[Run, str]:
    source, said = crowds.crowd(rng) if rng.random() < 0.75 else crowds.long_object(rng)
    entry = any_entry(rng) if rng.random() < 0.4 else server if rng.random() < 0.1 else _offline
    return (lambda: entry(source.files, source.recipe)), f"{said}; {entry.__name__.strip('_')}"


def _offline(files: tuple[bytes, ...], recipe: Recipe) -> Preprocessed:
    from fuzz.entries import offline

    return offline(files, recipe)


def _archive(rng: Random) -> tuple[Run, str]:
    source = sources.classic("explicit little endian")
    files, said = archives.deflated_bomb(rng) if rng.random() < 0.06 else archives.mutated(rng, source.files)
    entry = any_entry(rng)
    return (lambda: entry(files, source.recipe)), f"{said}; {entry.__name__}"


def _registration(rng: Random) -> tuple[Run, str]:
    """Volumes without a head: registration alone, or the whole pipeline with one of them."""
    first, said = volumes.degenerate(rng, Modality.T1CE)
    if rng.random() < 0.3:
        pair = {Modality.T1CE: first, Modality.T1: sources.head(Modality.T1)}
        return (lambda: preprocess_volumes(pair, sources.recipe_of(*PAIR.channels, min_slices=1), threads=1)), said
    kind = rng.integers(3)
    second, also = (sources.head(Modality.T1), "a head") if kind == 0 else volumes.degenerate(rng, Modality.T1)
    pair_of = (second, first) if rng.random() < 0.5 else (first, second)

    def run() -> None:
        register_all(pair_of[0], [pair_of[1]])

    return run, f"register {said} and {also}"


MAKERS: dict[str, Callable[[Random], tuple[Run, str]]] = {
    "bytes": _of_files(byte_level.mutated, _classic_or_enhanced),
    "attributes": _of_files(attributes.mutated, _classic_or_enhanced),
    "functional groups": _of_files(functional_groups.mutated, _enhanced),
    "codestreams": _of_files(codestreams.mutated, _compressed),
    "study": _of_files(studies.mutated, _uncompressed),
    "crowds": _crowd,
    "archives": _archive,
    "real size": _of_files(_any_mutation, lambda _: sources.phantom()),
    "real scanners": _of_files(_any_mutation, _real),
    "volumes": volumes.of_arrays,
    "NIfTI": volumes.of_nifti,
    "parameters": parameters.attempt,
    "registration": _registration,
}
MUTATIONS = tuple(MAKERS)
SHARES = (0.17, 0.2, 0.1, 0.15, 0.11, 0.02, 0.05, 0.01, 0.04, 0.06, 0.05, 0.02, 0.02)
"""Shares of the cases, in the order of MAKERS."""
