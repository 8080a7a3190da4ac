"""The answer in words, which are the same on the screen, in the picture and on the page."""

from __future__ import annotations

from glioserve_client.prediction import Prediction

DISPLAY_WORDS = (
    "Radiological display: the patient's left is on the viewer's right. Axial slices run from feet to head; "
    "the framed one holds the peak."
)


def label_words(prediction: Prediction) -> str:
    """Return ``Recurrence``, ``Necrosis`` or ``No label``."""
    return str(prediction.label).capitalize() if prediction.label is not None else "No label"


def headline(prediction: Prediction) -> str:
    """Return what a reader must take away first: the score, or that there is none to be used yet."""
    if prediction.label is None:
        return "No label: look at the study first"
    return f"Probability of recurrence {prediction.score:.2f}"


def model_words(prediction: Prediction) -> str:
    """Return which network answered, on one line."""
    model = prediction.model
    return f"{model.name} version {model.version}, {model.architecture}, {model.digest[:23]}…"


def quality_words(prediction: Prediction) -> str:
    """Return the preprocessing's verdict and, where it is not ``ok``, the checks behind it."""
    quality = prediction.quality
    if quality.verdict == "ok":
        return f"Quality ok ({len(quality.checks)} checks)"
    failed = ", ".join(check.name for check in quality.checks if check.verdict != "ok")
    return f"Quality: review ({failed or 'no check is named'})"


def heatmap_words(prediction: Prediction) -> str:
    """Return what the colours mean and where the peak is."""
    record = prediction.report.heatmap
    if record is None:
        return "No heat map."
    peak = "" if record.peak_lps_mm is None else f" Peak at {position_words(record.peak_lps_mm)}."
    return (
        f"Grad-CAM: evidence for {record.explained_class}, over the {prediction.report.preprocess.reference} "
        f"(reference) series.{peak}"
    )


def position_words(point_lps_mm: tuple[float, float, float]) -> str:
    """Return an LPS position as ``L 23, P 14, H 40 mm`` (H head, F feet)."""
    pairs = zip(point_lps_mm, ("RL", "AP", "FH"), strict=True)
    return ", ".join(f"{names[int(value >= 0)]} {abs(value):.0f}" for value, names in pairs) + " mm"
