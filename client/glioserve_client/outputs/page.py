"""``report.html``: the whole answer on one page in one file; no script, no font and no address outside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from glioserve_client.outputs.words import heatmap_words, label_words, model_words
from glioserve_client.prediction import Label, Prediction

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1b2430;
  background: #f2f4f7; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 56px; }
section { background: #fff; border: 1px solid #dde2e9; border-radius: 12px; padding: 22px 26px; margin: 0 0 18px; }
h1 { font-size: 30px; margin: 0 0 4px; font-weight: 600; }
h2 { font-size: 18px; margin: 0 0 10px; font-weight: 600; }
p { margin: 0 0 8px; }
.notice { background: #fff4d9; border-color: #e7c469; color: #5d4300; font-weight: 600; }
.label { display: inline-block; padding: 4px 16px; border-radius: 999px; color: #fff; font-weight: 600; }
.recurrence { background: #c2403c; } .necrosis { background: #2b7d57; } .none { background: #8a6414; }
.scale { position: relative; height: 12px; border-radius: 6px; margin: 30px 8px 6px;
  background: linear-gradient(90deg, #2b7d57, #e7c469, #c2403c); }
.scale .score { position: absolute; top: -7px; width: 26px; height: 26px; margin-left: -13px; border-radius: 50%;
  background: #fff; border: 5px solid #1b2430; }
.scale .threshold { position: absolute; top: -10px; width: 2px; height: 32px; background: #1b2430; }
.ends { display: flex; justify-content: space-between; color: #5a6676; font-size: 14px; margin: 12px 8px 0;
  position: relative; }
.ends .at { position: absolute; transform: translateX(-50%); }
.label { margin-right: 10px; }
img { width: 100%; height: auto; border-radius: 8px; display: block; margin-bottom: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th, td { text-align: left; padding: 7px 10px 7px 0; border-bottom: 1px solid #e6eaef; vertical-align: top; }
th { color: #5a6676; font-weight: 600; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
.review { color: #a4430f; font-weight: 600; } .ok { color: #2b7d57; } .faint { color: #5a6676; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Consolas, monospace; overflow-wrap: anywhere; }
@media print { body { background: #fff; } section { break-inside: avoid; } main { padding: 0; } }
"""


def draw_page(prediction: Prediction, overlay_png: bytes | None) -> str:
    """Return the page as text; every value from the answer is escaped."""
    registered = bool(prediction.report.preprocess.registrations)
    sections = (
        _section("", _answer(prediction)),
        _section("", [f"<p>{escape(prediction.notice)}</p>"], "notice"),
        _section("Warnings", [_list(prediction.warnings)]) if prediction.warnings else "",
        _section("Heat map", _heatmap(prediction, overlay_png)),
        _section("Quality", _quality(prediction)),
        _section("Series used", _series(prediction)),
        _section("Alignment to the reference", _registrations(prediction)) if registered else "",
        _section("Model", _model(prediction)),
        _section("Time", _timings(prediction)),
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Recurrence {prediction.score:.2f} · glioserve</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, parts: Iterable[str], kind: str = "") -> str:
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f'<section class="{kind}">{heading}{"".join(parts)}</section>\n'


def _answer(prediction: Prediction) -> list[str]:
    kind = str(prediction.label) if prediction.label is not None else "none"
    score, threshold = prediction.score * 100, prediction.threshold * 100
    other = prediction.probabilities[Label.NECROSIS]
    return [
        f"<h1>Probability of recurrence {prediction.score:.2f}</h1>",
        f'<p><span class="label {kind}">{escape(label_words(prediction))}</span> '
        f'<span class="faint">radiation necrosis {other:.2f}</span></p>',
        _because(prediction),
        f'<div class="scale"><span class="threshold" style="left:{threshold:.1f}%"></span>'
        f'<span class="score" style="left:{score:.1f}%"></span></div>',
        f'<div class="ends"><span>0 necrosis</span><span class="at" style="left:{threshold:.1f}%">threshold '
        f"{prediction.threshold:g}</span><span>1 recurrence</span></div>",
    ]


def _because(prediction: Prediction) -> str:
    if prediction.label is not None:
        return ""
    return f"<p>The server gives no label, because:</p>{_list(prediction.abstained_because)}"


def _heatmap(prediction: Prediction, overlay_png: bytes | None) -> list[str]:
    words = f"<p>{escape(heatmap_words(prediction))}</p>"
    if overlay_png is None:
        return [words if prediction.report.heatmap else "<p>It was not asked for.</p>"]
    encoded = base64.b64encode(overlay_png).decode("ascii")
    described = "Slices of the reference series with the heat map over them; the patient's left is on the right."
    return [f'<img alt="{escape(described)}" src="data:image/png;base64,{encoded}">', words]


def _quality(prediction: Prediction) -> list[str]:
    verdict = prediction.quality.verdict
    meaning = "every check is within its bounds" if verdict == "ok" else "look at the study before you use the answer"
    rows = [
        (
            escape(check.name.replace("_", " ")),
            f"{check.value:.4g} {escape(check.unit)}",
            f"{check.low:g} to {check.high:g}",
            f'<span class="{check.verdict}">{check.verdict}</span>',
        )
        for check in prediction.quality.checks
    ]
    return [f'<p><span class="{verdict}">{verdict}</span>: {meaning}.</p>', _table("Check Value Bounds Verdict", rows)]


def _series(prediction: Prediction) -> list[str]:
    rows = []
    preprocess = prediction.report.preprocess
    for series in preprocess.series:
        name = escape(str(series.modality)) + (" (reference)" if series.modality is preprocess.reference else "")
        size = f"{series.slices} slices, " + " × ".join(f"{mm:.2f}" for mm in series.spacing_mm) + " mm"
        rows.append((name, size, f"{series.confidence:.2f}", escape("; ".join(series.reasons))))
    return [_table("Sequence Slices,_voxel Confidence Why", rows)]


def _registrations(prediction: Prediction) -> list[str]:
    rows = [
        (
            escape(str(moved.modality)),
            f"{moved.mean_displacement_mm:.1f} mm",
            f"{moved.similarity_before:.3f} → {moved.similarity:.3f} nat",
        )
        for moved in prediction.report.preprocess.registrations
    ]
    return [_table("Sequence Moved_by_(mean_in_the_brain) Mutual_information", rows)]


def _model(prediction: Prediction) -> list[str]:
    report = prediction.report
    rows = [
        ("Model", escape(model_words(prediction))),
        ("Weights", f"<code>{escape(prediction.model.digest)}</code>"),
        ("Recipe", escape(f"{report.recipe.name}: {', '.join(map(str, report.recipe.channels))}")),
        ("Contract", escape(report.contract_version)),
        ("Request", f"<code>{escape(prediction.request_id)}</code>"),
    ]
    return [_table("", rows)]


def _timings(prediction: Prediction) -> list[str]:
    rows = [(escape(stage), f"{seconds:.2f} s") for stage, seconds in prediction.timings_s.items()]
    rows += [(f"client: {escape(stage)}", f"{seconds:.2f} s") for stage, seconds in prediction.client_timings_s.items()]
    return [_table("", rows)]


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(headings: str, rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already. Headings are split at blanks; ``_`` stands for a blank within one."""
    head = "".join(f"<th>{escape(h.replace('_', ' '))}</th>" for h in headings.split())
    body = "".join(
        "<tr>" + "".join(f'<td class="number">{c}</td>' if i else f"<td>{c}</td>" for i, c in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
