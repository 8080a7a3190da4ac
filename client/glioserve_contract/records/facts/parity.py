"""``parity`` of a manifest: the proof that the exported graph answers as the trained network does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParityFigure:
    """The largest relative difference of one output over all studies and batches, and its tolerance."""

    output: str
    """Name of the output; ``CAM (MONAI)`` where it was compared with MONAI's Grad-CAM."""
    difference: float
    """Largest difference seen, as a share of the value that ``relative_to`` names."""
    tolerance: float
    """Largest difference that is allowed."""
    relative_to: str = ""
    """Value of which the difference is a share, in words."""

    @property
    def held(self) -> bool:
        """True where the difference is within the tolerance."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class ReferenceCaseParity:
    """Answers to the reference case: probability of recurrence before the recipe's temperature."""

    expected: float
    """Score that the recipe states."""
    tolerance: float
    """Largest distance from the expected score that is allowed."""
    pytorch: float
    """Score by the trained network in PyTorch."""
    onnx: float
    """Score by the exported graph in ONNX Runtime."""

    @property
    def difference(self) -> float:
        """The larger distance of the two scores from the expected one."""
        return max(abs(self.pytorch - self.expected), abs(self.onnx - self.expected))


@dataclass(frozen=True)
class ParityRecord:
    """Comparisons made at export, and their results; empty where none was made."""

    figures: tuple[ParityFigure, ...] = ()
    """One figure for each output and each way of comparing it."""
    model_id_equal: bool = False
    """True where the graph's MODEL_ID is the weights' digest."""
    inputs: tuple[str, ...] = ()
    """Names of the studies that were compared."""
    batches: tuple[int, ...] = ()
    """Sizes of the batches in which the studies were compared."""
    runtime: str = ""
    """Runtime that ran the graph, with its version."""
    reference_case: ReferenceCaseParity | None = None
    """Answers to the reference case; absent where the recipe has none."""

    def figure(self, output: str) -> ParityFigure | None:
        """Return the figure of ``output``; None where that output was not compared."""
        return next((figure for figure in self.figures if figure.output == output), None)
