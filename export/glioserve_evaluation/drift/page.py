"""``glioserve drift report``: one page that draws each site's last studies beside the training."""

from __future__ import annotations

import base64
import io
from functools import cache

import matplotlib as mpl
import numpy as np
from jinja2 import Template
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glioserve_client.templates import page_template
from glioserve_contract import NOT_FOR_CLINICAL_USE
from glioserve_contract.metrics.drift import DRIFT_WINDOWS
from glioserve_watch.drift.rule import MIN_STUDIES, Drifted
from glioserve_watch.drift.stream import Stream

_BLUE, _GREY, _RED = "#1f5fa8", "#8a8a8a", "#b3261e"
_COLUMNS = 4


def as_html(streams: dict[tuple[str, str], Stream]) -> str:
    """Return the page of streams by version and site, those with flags first; a stream must have been looked at."""
    order = sorted(streams, key=lambda place: (-len(streams[place].flags), place))
    return _template().render(
        notice=NOT_FOR_CLINICAL_USE,
        windows=DRIFT_WINDOWS,
        min_studies=MIN_STUDIES,
        sections=[_section(*place, streams[place]) for place in order],
    )


def _section(version: str, site: str, stream: Stream) -> dict[str, object]:
    names = sorted(stream.features, key=lambda name: -_worst(stream, name))
    rows = [
        {
            "name": name,
            "flagged": name in stream.flags,
            "cells": [_cell(stream.found.get((name, window))) for window in DRIFT_WINDOWS],
        }
        for name in names
    ]
    return {
        "version": version,
        "site": site,
        "studies": len(stream.studies),
        "reference": stream.reference,
        "flags": len(stream.flags),
        "rows": rows,
        "plot": "data:image/svg+xml;base64," + base64.b64encode(drift_plot(stream, names).encode()).decode(),
    }


def _worst(stream: Stream, name: str) -> float:
    return max((drifted.ks for (feature, _), drifted in stream.found.items() if feature == name), default=0.0)


def _cell(found: Drifted | None) -> tuple[str, str, str]:
    """Return distance, index and bound as text."""
    if found is None:
        return "too few", "", ""
    return f"{found.ks:.2f}", f"{found.psi:.2f}", f"{found.chance:.1e}"


def drift_plot(stream: Stream, names: list[str]) -> str:
    """Draw the features as SVG: distribution functions of numbers, bars of words; the flagged ones in red."""
    rows = -(-len(names) // _COLUMNS)
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "glioserve", "font.size": 7.0, "svg.fonttype": "path"}):
        figure = Figure(figsize=(11, 2.1 * rows), layout="constrained")
        for number, name in enumerate(names, 1):
            axes = figure.add_subplot(rows, _COLUMNS, number)
            colour = _RED if name in stream.flags else _BLUE
            axes.set_title(name, fontsize=7, color=colour)
            axes.spines[["top", "right"]].set_visible(False)
            if name in stream.reference.numbers:
                _draw_numbers(axes, stream, name, colour)
            else:
                _draw_words(axes, stream, name, colour)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _draw_numbers(axes: Axes, stream: Stream, name: str, colour: str) -> None:
    axes.ecdf(stream.reference.numbers[name], color=_GREY, linewidth=1.5)
    values = stream.values(name, DRIFT_WINDOWS[0])
    values = values[~np.isnan(values)]
    if len(values):
        axes.ecdf(values, color=colour, linewidth=1)
    axes.set_ylim(0, 1)


def _draw_words(axes: Axes, stream: Stream, name: str, colour: str) -> None:
    reference, sample = stream.reference.categories[name], stream.counts(name, DRIFT_WINDOWS[0])
    words = sorted({*reference, *sample})
    places = np.arange(len(words))
    for counts, offset, shade in ((reference, -0.2, _GREY), (sample, 0.2, colour)):
        total = max(1, sum(counts.values()))
        axes.bar(places + offset, [counts.get(word, 0) / total for word in words], 0.4, color=shade)
    axes.set_xticks(places, words)


@cache
def _template() -> Template:
    return page_template("glioserve_evaluation", "drift", "page.html.j2")
