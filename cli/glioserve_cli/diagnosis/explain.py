"""``glioserve explain STUDY``: which series is taken for which sequence, why, how sure, and which others would do.

It is the choice that preprocessing makes, with the opinion of the voxels, and nothing after it. Where the choice is
refused, every stack of the study is listed with its evidence, and the exit code is that of the refusal. A chosen series
whose headers show that it cannot be a volume is refused behind the table, as preprocessing refuses it.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glioserve_cli.study_arguments import add_named_series
from glioserve_contract import GlioserveError, Modality, to_dict
from glioserve_contract.records.preprocess import PixelOpinionRecord, RunnerUpRecord
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.read import read
from glioserve_dicom.slices.stacks import counted
from glioserve_preprocess.files import load_recipe
from glioserve_preprocess.pipeline import compared_by_images, looked_at, voxels_of
from glioserve_preprocess.series.candidates import SeriesCandidate
from glioserve_preprocess.series.contrast import asked_about
from glioserve_preprocess.series.opinions import opinion_record
from glioserve_preprocess.series.selection import Choice, choose_among, judge_study

MIN_SLICES = 2
"""Least number of slices where no recipe has a rule: any volume is explained."""
WIDTH = 118
"""Columns of a terminal that the text is set for."""
_INDENT = " " * 8
Json = dict[str, Any]
"""An object of JSON."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="folder or zip archive of DICOM files")
    parser.add_argument(
        "--recipe",
        type=Path,
        help="recipe.json of a network: its sequences and slice rule (default: all four sequences, no rule)",
    )
    add_named_series(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    """Print the evidence: exit code 0. A study that cannot be chosen from raises its error behind the table."""
    recipe = None if args.recipe is None else load_recipe(args.recipe)
    channels = tuple(Modality) if recipe is None else recipe.channels
    min_slices = MIN_SLICES if recipe is None else recipe.min_slices
    instances = read(study_files(args.study), accept_identified=True)
    judged = judge_study(
        instances,
        channels,
        min_slices,
        named=dict(args.series),
        compare=compared_by_images,
        look=looked_at,
        voxels=voxels_of,
    )
    choice, refusal = None, None
    try:
        choice = choose_among(judged, channels, min_slices, compare=compared_by_images, look=looked_at)
    except GlioserveError as error:
        refusal = error
    else:
        refusal = next((c.problem for c in choice.chosen.values() if c.problem is not None), None)
    stacks = [_looked_at(c, min_slices) for c in _ordered(judged.candidates)]
    warnings = (*instances.warnings, *(choice.warnings if choice else ()))
    if args.json:
        print(json.dumps(as_json(choice, stacks, warnings, refusal), indent=2, ensure_ascii=False))
    else:
        print(as_text(choice, stacks, warnings))
    if refusal is not None:
        raise refusal
    return 0


def _ordered(candidates: Sequence[SeriesCandidate]) -> list[SeriesCandidate]:
    """Return the stacks by SeriesNumber, as a viewer lists them."""
    return sorted(candidates, key=lambda c: (int(c.number) if c.number.isdigit() else 10**9, c.stack.part))


def _looked_at(candidate: SeriesCandidate, min_slices: int) -> SeriesCandidate:
    """Return the stack with the opinion of its voxels, where it could stand for a sequence at all."""
    possible = not candidate.evidence.excluded and candidate.slices >= min_slices and candidate.problem is None
    return asked_about(candidate, looked_at) if possible else candidate


def as_json(
    choice: Choice | None, stacks: Sequence[SeriesCandidate], warnings: Sequence[str], refusal: GlioserveError | None
) -> Json:
    """Return the evidence as JSON values; ``sequences`` is empty where nothing was chosen."""
    return {
        "code": None if refusal is None else refusal.code.token,
        "detail": "" if refusal is None else refusal.detail,
        "sequences": [] if choice is None else [_sequence(choice, m) for m in choice.chosen],
        "checks": [] if choice is None else [to_dict(check) for check in choice.checks],
        "stacks": [_stack(candidate) for candidate in stacks],
        "warnings": list(warnings),
    }


def _sequence(choice: Choice, modality: Modality) -> Json:
    candidate = choice.chosen[modality]
    return {
        "modality": modality.value,
        **_identity(candidate),
        "named": modality in choice.named,
        "confidence": candidate.score(modality),
        "reasons": list(candidate.evidence.reasons),
        "pixels": _pixels(candidate),
        "problem": _problem(candidate),
        "runners_up": [to_dict(other) for other in choice.runners_up.get(modality, ())],
    }


def _stack(candidate: SeriesCandidate) -> Json:
    return {
        **_identity(candidate),
        "modality": None if candidate.modality is None else candidate.modality.value,
        "scores": {m.value: share for m, share in candidate.evidence.scores.items()},
        "reasons": list(candidate.evidence.reasons),
        "excluded": candidate.evidence.excluded,
        "acquisition": candidate.acquisition_group,
        "pixels": _pixels(candidate),
        "problem": _problem(candidate),
    }


def _problem(candidate: SeriesCandidate) -> str:
    return "" if candidate.problem is None else candidate.problem.code.token


def _identity(candidate: SeriesCandidate) -> Json:
    return {
        "series_number": candidate.number,
        "series_instance_uid": candidate.series_instance_uid,
        "part": candidate.stack.part,
        "slices": candidate.slices,
    }


def _pixels(candidate: SeriesCandidate) -> Json | None:
    record = opinion_record(candidate.pixels)
    return None if record is None else to_dict(record)


def as_text(choice: Choice | None, stacks: Sequence[SeriesCandidate], warnings: Sequence[str]) -> str:
    """Return a block for each sequence, then the other stacks; all stacks where the choice was refused."""
    lines: list[str] = []
    taken: set[str] = set()
    for modality, candidate in ({} if choice is None else choice.chosen).items():
        runners_up = () if choice is None else choice.runners_up.get(modality, ())
        taken |= {_key(candidate.series_instance_uid, candidate.stack.part)}
        taken |= {_key(other.series_instance_uid, other.part) for other in runners_up}
        lines += [*_block(candidate, modality, runners_up, stacks), ""]
    others = [c for c in stacks if _key(c.series_instance_uid, c.stack.part) not in taken]
    if others:
        lines.append("other stacks" if choice is not None else "all stacks")
        lines += [line for candidate in others for line in _other(candidate)]
        lines.append("")
    if choice is not None:
        lines += [f"check: {c.name} {c.value:.2f} ({c.low:.2f} to {c.high:.2f}): {c.verdict}" for c in choice.checks]
    lines += [f"warning: {warning}" for warning in warnings]
    return "\n".join(lines).rstrip()


def _block(
    candidate: SeriesCandidate,
    modality: Modality,
    runners_up: Sequence[RunnerUpRecord],
    stacks: Sequence[SeriesCandidate],
) -> list[str]:
    """Return the lines on one sequence: the series, why, what the voxels say, and the runners-up."""
    names = {_key(c.series_instance_uid, c.stack.part): c.name for c in stacks}
    score = candidate.score(modality)
    lines = [f"{modality.value:<8}{candidate.name}, {counted(candidate.slices)}, sure to {score:.2f}"]
    if candidate.problem is not None:
        lines += _wrapped("but: ", f"cannot be read ({candidate.problem.code.token}): {candidate.problem.detail}")
    lines += _wrapped("uid: ", _name_for_the_choice(candidate))
    lines += _wrapped("why: ", "; ".join(candidate.evidence.reasons))
    lines += _wrapped("voxels: ", _said(opinion_record(candidate.pixels)))
    for other in runners_up:
        name = names.get(_key(other.series_instance_uid, other.part), other.series_instance_uid)
        lines += _wrapped("beside: ", f"{name}, {counted(other.slices)}, {other.score:.2f}: {other.why_not}")
        lines += _wrapped("        ", "; ".join(other.reasons))
    return lines


def _other(candidate: SeriesCandidate) -> list[str]:
    """Return the lines on a stack that stands for no sequence."""
    shares = ", ".join(f"{m} {share:.2f}" for m, share in candidate.evidence.scores.items() if share >= 0.05)
    problem = f"; cannot be read ({_problem(candidate)})" if _problem(candidate) else ""
    lines = [f"{_INDENT}{candidate.name}, {counted(candidate.slices)}: {shares or 'none of the sequences'}{problem}"]
    lines += _wrapped("uid: ", _name_for_the_choice(candidate), deeper=True)
    lines += _wrapped("why: ", "; ".join(candidate.evidence.reasons), deeper=True)
    if candidate.pixels is not None:
        lines += _wrapped("voxels: ", _said(opinion_record(candidate.pixels)), deeper=True)
    return lines


def _said(opinion: PixelOpinionRecord | None) -> str:
    if opinion is None:
        return "not asked"
    below = "" if opinion.kind is not None else f", below the threshold of {opinion.threshold:.2f}: undecided"
    return f"{opinion.likeliest} {opinion.confidence:.2f}{below}"


def _wrapped(label: str, text: str, *, deeper: bool = False) -> list[str]:
    indent = _INDENT * 2 if deeper else _INDENT
    return textwrap.wrap(text, WIDTH, initial_indent=indent + label, subsequent_indent=indent + " " * len(label))


def _name_for_the_choice(candidate: SeriesCandidate) -> str:
    """Return the name by which ``--series`` takes the stack."""
    part = f"#{candidate.stack.part}" if candidate.stack.part else ""
    return f"{candidate.series_instance_uid}{part}"


def _key(series_instance_uid: str, part: str) -> str:
    return f"{series_instance_uid}#{part}"
