"""The answer for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from glioserve_client.outputs.words import headline, heatmap_words, label_words, quality_words
from glioserve_client.prediction import Prediction


def summary(prediction: Prediction) -> str:
    """Return the lines that a reader must know, most important first; without a newline at the end."""
    model = prediction.model
    score = f"Probability of recurrence  {prediction.score:.3f}  (threshold {prediction.threshold:g}"
    answer = [f"{score})", f"Label                      {label_words(prediction)}"]
    if prediction.label is None:  # a number at the top would be read as the answer
        because = (f"                           because {reason}" for reason in prediction.abstained_because)
        answer = [f"Label                      {headline(prediction)}", *because, f"{score}; it does not stand alone)"]
    lines = [
        *answer,
        f"Quality                    {quality_words(prediction).removeprefix('Quality').lstrip(': ')}",
        f"Model                      {model.name} version {model.version}, {model.architecture}",
        f"                           {model.digest}",
        *([f"Heat map                   {heatmap_words(prediction)}"] if prediction.heatmap else []),
        f"Time at the server         {_timings(prediction.timings_s.items())}",
        f"Time of the call           {_timings(prediction.client_timings_s.items())}"
        + (f" in {prediction.attempts} attempts" if prediction.attempts > 1 else ""),
        f"Request                    {prediction.request_id}",
        *(f"Warning                    {warning}" for warning in prediction.warnings),
        "",
        prediction.notice,
    ]
    return "\n".join(lines)


def _timings(stages: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in stages) or "not reported"
