"""The report's three figures as SVG: ROC curve, calibration, confusion matrix. No state, no display."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glioserve_evaluation.figures.figures import CalibrationBin, Confusion, Estimate, OperatingPoint, RocPoint

_BLUE, _GREY, _RED = "#1f5fa8", "#8a8a8a", "#b3261e"


def roc_plot(
    points: tuple[RocPoint, ...], auc: Estimate, used: tuple[float, float], wanted: OperatingPoint | None
) -> str:
    """Draw the ROC curve with its operating points.

    ``used`` is (1 - specificity, sensitivity) at the recipe's threshold, ``wanted`` the point of another sensitivity.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
        interval = "" if auc.lower is None or auc.upper is None else f" ({auc.lower:.2f} to {auc.upper:.2f})"
        axes.plot(
            [p.false_positive_rate for p in points],
            [p.true_positive_rate for p in points],
            color=_BLUE,
            label=f"AUC {auc.value:.2f}{interval}",
        )
        axes.plot(*used, "o", color=_RED, label="recipe's threshold")
        if wanted is not None:
            name = f"sensitivity {wanted.wanted_sensitivity:g} wanted"
            axes.plot(1 - wanted.specificity, wanted.sensitivity, "s", color=_BLUE, mfc="none", ms=10, label=name)
        _unit_square(axes, "1 - specificity", "sensitivity to necrosis")
        axes.legend(loc="lower right", frameon=False)

    return _svg(draw)


def calibration_plot(bins: tuple[CalibrationBin, ...]) -> str:
    """Draw the observed share over the mean probability by bin, a bin's area in proportion to its studies."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
        filled = [
            (b.mean_probability, b.observed, b.n)
            for b in bins
            if b.mean_probability is not None and b.observed is not None
        ]
        x, y, counts = zip(*filled, strict=True)
        axes.plot(x, y, color=_BLUE, linewidth=1)
        areas = [20 + 400 * n / sum(counts) for n in counts]
        axes.scatter(x, y, s=areas, color=_BLUE, alpha=0.6)
        for (px, py, n), area in zip(filled, areas, strict=True):
            above = (0, area**0.5 / 2 + 2)  # a marker's area is in points squared
            axes.annotate(str(n), (px, py), above, textcoords="offset points", ha="center", fontsize=7)
        _unit_square(axes, "mean probability of necrosis", "share that was necrosis")
        axes.set_ylim(top=1.1)

    return _svg(draw)


def confusion_plot(confusion: Confusion) -> str:
    """Draw the counts, truth by row; a cell is the darker, the larger its share of its row."""

    def draw(axes: Axes) -> None:
        rows = (
            (confusion.true_positive, confusion.false_negative),
            (confusion.false_positive, confusion.true_negative),
        )
        shares = [[count / max(1, sum(row)) for count in row] for row in rows]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for y, row in enumerate(rows):
            for x, count in enumerate(row):
                dark = shares[y][x] > 0.5
                axes.text(x, y, str(count), ha="center", va="center", fontsize=16, color="white" if dark else "black")
        classes = ("necrosis", "recurrence")
        axes.set_xticks((0, 1), classes)
        axes.set_yticks((0, 1), classes, rotation=90, va="center")
        axes.set_xlabel("called")
        axes.set_ylabel("was")
        axes.tick_params(length=0)

    return _svg(draw)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=x, ylabel=y, aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)


def _svg(draw: Callable[[Axes], None]) -> str:
    text = io.StringIO()
    # Letters are outlines, so that a page looks alike wherever it is opened; a fixed salt makes reports repeatable.
    with mpl.rc_context({"svg.hashsalt": "glioserve", "font.size": 9.0, "svg.fonttype": "path"}):
        figure = Figure(figsize=(3.8, 3.8), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()
