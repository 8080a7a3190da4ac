"""Draw ``report.html``: the whole answer on one page in one file, which asks for nothing outside it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Template

from glioserve_client.outputs.checks import ordered
from glioserve_client.outputs.viewer import PLANES, Viewer
from glioserve_client.outputs.words import headline, heatmap_words, label_words, model_words
from glioserve_client.prediction import Label, Prediction
from glioserve_client.templates import page_template


def draw_page(prediction: Prediction, still_jpeg: bytes | None = None, viewer: Viewer | None = None) -> str:
    """Return the page as text; every value from the answer is escaped.

    The page's own style and script are let through by their digests, and nothing else is: what an answer might bring
    in would not run.

    Args:
        prediction: the answer.
        still_jpeg: the overlay, which stands in where the viewer cannot run.
        viewer: the volumes to look at; None for a page without them.
    """
    style, script = _asset("page.css"), _asset("viewer.js")
    return _template().render(
        answer=prediction,
        preprocess=prediction.report.preprocess,
        necrosis=prediction.probabilities[Label.NECROSIS],
        checks=ordered(prediction.quality.checks),
        headline=headline(prediction),
        label_words=label_words(prediction),
        heatmap_words=heatmap_words(prediction),
        model_words=model_words(prediction),
        still_base64=None if still_jpeg is None else base64.b64encode(still_jpeg).decode("ascii"),
        viewer=viewer,
        setup=None if viewer is None else viewer.setup(prediction.report.preprocess.reference),
        planes=PLANES,
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


@cache
def _asset(name: str) -> str:
    """Return a file of our own that the page carries as it is, with the line ends that a browser sees."""
    return files("glioserve_client.outputs").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the digest by which a Content-Security-Policy names an element's text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _template() -> Template:
    return page_template("glioserve_client", "outputs", "page.html.j2")
