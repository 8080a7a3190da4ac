"""``model_card.md`` and ``model_card.html`` of a published version: all that its manifest knows, for people to read.

One list of sections, written twice: as Markdown here, as HTML by ``model_card.html.j2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Template

from glioserve_client.templates import page_template
from glioserve_contract import NOT_FOR_CLINICAL_USE, to_dict
from glioserve_contract.records.facts.evaluation import Counting, EvaluationSummary
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.recipe import Recipe
from glioserve_export.version_files import CARD_FILES

_PATH = re.compile(r"""(?<![\w./])(?:file:|~|[A-Za-z]:\\|\\\\|(?<!:)//(?=\w)|\.{0,2}/(?=[\w.~]))[^\s"',;]*""")
_OVERRIDDEN = "The gate refused it, and was overridden:"


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and a table where ``header`` names its columns."""

    title: str
    paragraphs: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def card_files(manifest: Manifest) -> dict[str, str]:
    """Name to text of both cards; ``manifest`` with its publication, but without the cards' own digests."""
    name, built = f"{manifest.recipe.name}: model card", tuple(sections(manifest))
    return dict(zip(CARD_FILES, (as_markdown(name, built), as_html(name, built)), strict=True))


def sections(manifest: Manifest) -> Iterator[Section]:
    """Yield the card's sections, in order."""
    recipe = manifest.recipe
    provenance = tuple(_flat(to_dict(recipe.provenance)))
    necrosis, recurrence = "radiation necrosis", "recurrence of the tumour"
    yield Section(
        "What it is",
        (
            f"A 3D convolutional network ({recipe.architecture.name}) that reads {_listed(recipe.channels)} MRI of a "
            f"patient treated for glioma and gives the probability that a lesion is {recurrence} rather than "
            f"{necrosis}. It is served by glioserve, which makes the network's input from the scanner's DICOM files.",
            # The number of a version is its repository's; the weights are what lists and reports name it by everywhere.
            f"Its weights are {manifest.weights_digest.removeprefix('sha256:')[:12]}.",
        ),
    )
    yield Section(
        "Intended use",
        (
            NOT_FOR_CLINICAL_USE,
            "Its answer is one probability per study and a map of where the network looked. Neither is a diagnosis; "
            "the map explains the network's answer, not the patient's disease.",
        ),
    )
    yield Section("Recipe", header=("Property", "Value"), rows=tuple(_recipe(recipe)))
    yield Section(
        "Training",
        ("What the training run wrote about itself.",) if provenance else ("Nothing is known of its training.",),
        ("Property", "Value") if provenance else (),
        tuple((key, _without_paths(value)) for key, value in provenance),
    )
    yield _parity(manifest)
    yield _variants(manifest)
    yield _evaluation(manifest)
    yield from _publication(manifest)
    yield Section("Lineage", header=("What", "Digest or version"), rows=tuple(_lineage(manifest)))
    yield Section("Limits", tuple(_limits(manifest)))


def as_markdown(title: str, content: Sequence[Section]) -> str:
    """Return the card in GitHub's dialect of Markdown."""
    lines = [f"# {_md(title)}"]
    for section in content:
        lines += ["", f"## {_md(section.title)}"]
        lines += [line for paragraph in section.paragraphs for line in ("", _md(paragraph))]
        if section.header:
            lines += ["", _md_row(section.header), _md_row(("---",) * len(section.header))]
            lines += [_md_row(tuple(_md(cell) for cell in row)) for row in section.rows]
    return "\n".join(lines) + "\n"


def as_html(title: str, content: Sequence[Section]) -> str:
    """Return one page that needs nothing else: no script, no font, no image."""
    return _template().render(title=title, sections=content, marked=(NOT_FOR_CLINICAL_USE, _OVERRIDDEN))


@cache
def _template() -> Template:
    return page_template("glioserve_registry", "publishing", "model_card.html.j2")


def _recipe(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield "Name", recipe.name
    options = ", ".join(f"{key} = {value}" for key, value in sorted(recipe.architecture.options.items()))
    yield "Architecture", recipe.architecture.name + (f" ({options})" if options else "")
    yield "Channels, in the network's order", ", ".join(recipe.channels)
    size, spacing = (
        " x ".join(f"{v:g}" for v in values) for values in (recipe.grid.size_voxels, recipe.grid.spacing_mm)
    )
    yield "Input grid (x, y, z)", f"{size} voxels of {spacing} mm"
    yield "Fewest slices of a series", str(recipe.min_slices)
    percentiles = recipe.intensity.percentiles
    yield (
        "Intensities",
        recipe.intensity.method + (f" ({percentiles[0]:g} to {percentiles[1]:g} %)" if percentiles else ""),
    )
    brain = recipe.brain_extraction
    yield "Brain extraction", brain.method + (f" ({brain.model}, {brain.digest})" if brain.model else "")
    yield "Classes, in the network's order", ", ".join(recipe.classes)
    yield "Threshold", f"recurrence where its probability is at least {recipe.threshold:g}"
    yield "Temperature", f"{recipe.temperature:g}" + (" (not calibrated)" if recipe.temperature == 1 else "")
    yield "Heat map", recipe.heatmap
    case = recipe.reference_case
    if case is not None:
        yield "Reference case", f"{case.score:g} ± {case.tolerance:g} before the temperature"


def _parity(manifest: Manifest) -> Section:
    parity = manifest.parity
    rows = [(f.output, f"{f.difference:.1e}", f"{f.tolerance:.1e}", f.relative_to) for f in parity.figures]
    case = parity.reference_case
    if case is not None:
        rows.append(("reference_case", f"{case.difference:.1e}", f"{case.tolerance:.1e}", "probability of recurrence"))
    if not rows:
        return Section("Parity", ("It was never shown that the exported graph answers as the trained network does.",))
    runtime = parity.runtime or "an unnamed runtime"
    text = f"How far the exported graph on {runtime} strays from the trained network in PyTorch, at most."
    return Section("Parity", (text,), ("Output", "Largest difference", "Tolerance", "Relative to"), tuple(rows))


def _variants(manifest: Manifest) -> Section:
    if not manifest.variants:
        return Section("Variants", ("None: the 32-bit graph alone.",))
    rows = tuple((name, key, value) for name, gate in manifest.variants.items() for key, value in _flat(to_dict(gate)))
    text = "Other precisions of the same network, each held to the recipe's limits on a calibration set."
    return Section(
        "Variants", (text,), ("Variant", "Figure", "Value"), tuple((n, k, _without_paths(v)) for n, k, v in rows)
    )


def _evaluation(manifest: Manifest) -> Section:
    if manifest.evaluation is None:
        return Section("Evaluation", ("It was never evaluated on a cohort: nothing is known of how good it is.",))
    text = "Radiation necrosis is the positive class. Intervals are of 95%."
    return Section("Evaluation", (text,), ("Figure", "Value", "Interval"), tuple(evaluation_rows(manifest.evaluation)))


def evaluation_rows(evaluation: EvaluationSummary) -> Iterator[tuple[str, str, str]]:
    """Yield (name, value, interval) for people."""
    yield "Studies", str(evaluation.studies), ""
    yield "Of these failed", str(evaluation.failed), ""
    yield "Of these abstained", str(evaluation.abstained), ""
    yield from _figures(evaluation, "metrics", "")
    yield from _figures(evaluation, "every_study", ", failures and abstentions wrong")


def _figures(evaluation: EvaluationSummary, counting: Counting, note: str) -> Iterator[tuple[str, str, str]]:
    for name in ("auc", "sensitivity", "specificity", "accuracy", "calibration_error", "brier"):
        figure = evaluation.figure(name, counting)
        if figure is not None:
            title = "AUC" if name == "auc" else name.replace("_", " ").capitalize()
            of = "" if figure.n is None else f" ({figure.successes} of {figure.n})"
            yield f"{title}{note}", f"{figure.value:.3f}{of}", figure.interval


def _publication(manifest: Manifest) -> Iterator[Section]:
    publication = manifest.publication
    if publication is None:
        return
    told = [f"Published {publication.at}."]
    if publication.override:
        told.append(f"{_OVERRIDDEN} {_without_paths(publication.override)}")
    rows = tuple((r.name, "passed" if r.passed else "FAILED", r.found, r.limit) for r in publication.gate.rules)
    yield Section("Publication", tuple(told), ("Rule of the gate", "Verdict", "Found", "Limit"), rows)


def _lineage(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "Weights", manifest.weights_digest
    yield "Preprocessing", manifest.preprocessing_digest
    for name, digest in sorted(manifest.files.items()):
        yield name, digest
    if manifest.publication is not None:
        yield "Exported manifest", manifest.publication.source_manifest
    if manifest.evaluation is not None:
        yield "Evaluation report", manifest.evaluation.digest
    if manifest.created:
        yield "Exported at", manifest.created
    for name, version in sorted(manifest.versions.items()):
        yield f"Exported with {name}", version


def _limits(manifest: Manifest) -> Iterator[str]:
    recipe = manifest.recipe
    yield (
        f"It needs {_listed(recipe.channels)} of one study, each of {recipe.min_slices} slices or more, and knows "
        "nothing of other sequences, of earlier studies or of the patient."
    )
    if "phantom" in (recipe.provenance.data or "").lower():
        yield "It was trained on synthetic phantoms: its answers about patients mean nothing."
    if manifest.cam_method == "none":
        yield "It gives no heat map."
    if recipe.reference_case is None:
        yield (
            "It has no reference case: were its channels or classes named in another order than the network's, its "
            "answers would be wrong, and no check of its export would notice."
        )
    if manifest.evaluation is None:
        yield "Without an evaluation no statement about its errors can be made."
    yield (
        "Patients, scanners and protocols unlike those it was trained on may be answered wrongly and confidently; "
        "evaluate it on cases of the place where it is to be used."
    )


def _listed(names: Sequence[str]) -> str:
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested values as ``key.key`` and text; what is empty is left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, 1):
            yield from _flat(item, f"{prefix}.{number}")
    elif isinstance(value, list):
        if value:
            yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, f"{value:.4g}" if isinstance(value, float) else str(value)


def _without_paths(text: str) -> str:
    """Return the text without paths: a training machine's folders may name people."""
    return _PATH.sub("[path]", text)


def _md(text: str) -> str:
    """Free text that stays text: no markup, no raw HTML, one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _md_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
