"""The types of the table of metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import product


class Kind(str, Enum):
    """Prometheus' type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Label:
    """One label; a label without values is open, and takes what ``origin`` says and nothing else."""

    name: str
    values: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Metric:
    """One metric of the models or of the supervisor."""

    name: str
    kind: Kind
    description: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    pairs: tuple[tuple[str, ...], ...] = ()
    """Combinations of label values, where not every one of them exists."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the table's order."""
        return tuple(label.name for label in self.labels)

    def series(self) -> Iterator[tuple[str, ...]]:
        """Yield the label values of every series that is there from the start; none where a label is open."""
        yield from self.pairs or product(*(label.values for label in self.labels))


VERSION = Label("version", origin="number of a version of the classifier in the repository")
"""Label of a version."""
