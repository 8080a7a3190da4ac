"""Draw ``report.html``: the whole answer on one page in one file; no script, no font and no address outside it."""

from __future__ import annotations

import base64
from functools import cache

from jinja2 import Template

from glioserve_client.outputs.words import heatmap_words, label_words, model_words
from glioserve_client.prediction import Label, Prediction
from glioserve_client.templates import page_template


def draw_page(prediction: Prediction, overlay_png: bytes | None) -> str:
    """Return the page as text; every value from the answer is escaped."""
    return _template().render(
        answer=prediction,
        preprocess=prediction.report.preprocess,
        necrosis=prediction.probabilities[Label.NECROSIS],
        label_words=label_words(prediction),
        heatmap_words=heatmap_words(prediction),
        model_words=model_words(prediction),
        overlay_base64=None if overlay_png is None else base64.b64encode(overlay_png).decode("ascii"),
    )


@cache
def _template() -> Template:
    return page_template("glioserve_client", "outputs", "page.html.j2")
