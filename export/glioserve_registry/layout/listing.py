"""The versions of a repository or a store, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.evaluation import EvaluationFigure
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.promotion import Promotion
from glioserve_registry.layout.serving import classifier_folder, current, manifest_of
from glioserve_registry.publishing.gate import Gate, judge
from glioserve_registry.store import Store, is_url
from glioserve_triton.served.promotions import version_numbers

_COLUMNS = ("version", "", "name", "weights", "AUC", "parity", "published", "override")


@dataclass(frozen=True)
class Listed:
    """One version; ``manifest`` is None where it cannot be read, and ``problem`` says why."""

    version: int
    manifest: Manifest | None
    role: str = ""
    """``serves``; ``begun``: a promotion to it has no end on record; ``before``: what a rollback goes to; ``undone``:
    the last attempt to have it serve was; or nothing."""
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        if self.manifest is None:
            return {"version": self.version, "role": self.role, "problem": self.problem}
        auc, publication = _auc(self.manifest), self.manifest.publication
        return {
            "version": self.version,
            "role": self.role,
            "name": self.manifest.recipe.name,
            "weights_digest": self.manifest.weights_digest,
            "auc": None if auc is None else {"value": auc.value, "lower": auc.lower, "upper": auc.upper},
            "parity": _parity(self.manifest),
            "published": publication.at if publication else None,
            "override": publication.override if publication else None,
        }

    def cells(self) -> tuple[str, ...]:
        """Return the texts under the columns."""
        if self.manifest is None:
            return str(self.version), self.role, f"BROKEN: {self.problem}", "", "", "", "", ""
        auc, publication = _auc(self.manifest), self.manifest.publication
        return (
            str(self.version),
            self.role,
            self.manifest.recipe.name,
            self.manifest.weights_digest.removeprefix("sha256:")[:12],
            "not evaluated" if auc is None else str(auc),
            "held" if _parity(self.manifest) else "NOT HELD",
            publication.at if publication else "before there were records",
            "overridden" if publication and publication.override else "",
        )


def list_repository(repository: Path) -> tuple[Listed, ...]:
    """List a repository's versions, oldest first; GLIO-5108 where there is no repository."""
    if not classifier_folder(repository).is_dir():
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{repository.name} is not a model repository.")
    promotion = current(repository)
    roles = {} if promotion is None else _roles(promotion)
    listed = []
    for number in version_numbers(classifier_folder(repository)):
        role = roles.get(number, "")
        try:
            listed.append(Listed(number, manifest_of(repository, number), role))
        except GlioserveError as error:
            listed.append(Listed(number, None, role, error.detail))
    return tuple(listed)


def _roles(promotion: Promotion) -> dict[int | None, str]:
    roles: dict[int | None, str] = {}
    for change in promotion.history:
        roles[change.to_version] = "" if change.undone is None else "undone"
    begun = promotion.begun
    if begun is not None:
        return {**roles, begun.from_version: "before", begun.to_version: "begun"}
    return {**roles, promotion.previous: "before", promotion.serving: "serves"}


def list_store(store: Store) -> tuple[Listed, ...]:
    """List a store's versions, oldest first; nothing in a store serves."""
    listed = []
    for number in store.versions():
        try:
            listed.append(Listed(number, store.manifest(number)))
        except GlioserveError as error:
            if error.code is ErrorCode.STORE_FAILED:
                raise
            listed.append(Listed(number, None, problem=error.detail))
    return tuple(listed)


def list_versions(where: str) -> tuple[Listed, ...]:
    """Return the versions of the repository or, where ``where`` is a URL, of the store."""
    return list_store(Store(where)) if is_url(where) else list_repository(Path(where))


def as_text(listed: Sequence[Listed]) -> str:
    """Return a table whose columns are as wide as what they hold."""
    rows = [_COLUMNS, *(version.cells() for version in listed)]
    if len(rows) == 1:
        return "no version"
    # A broken version's message does not widen the column of names.
    widths = [max(len(row[i]) for row in rows if "BROKEN" not in row[2]) for i in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _auc(manifest: Manifest) -> EvaluationFigure | None:
    return None if manifest.evaluation is None else manifest.evaluation.metrics.auc


def _parity(manifest: Manifest) -> bool:
    """Return whether every figure of the export's proof is within its tolerance."""
    return not any(rule.name.startswith("parity") for rule in judge(Gate(), manifest).failed)
