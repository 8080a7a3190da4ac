"""A model repository: whether it can be served under a profile, and what serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_triton.diagnosis.brain_models import recipes_brain_model
from glioserve_triton.diagnosis.findings import Finding, short_path
from glioserve_triton.diagnosis.plan import serving_plan
from glioserve_triton.served.repository import check_repository, profiles
from glioserve_triton.shadow.candidate import find_candidate


def repository_findings(repository: Path, profile: str | None, shadow: int | None) -> Iterator[Finding]:
    """Yield the findings of the area ``repository``; ``shadow`` is a version that is to see live studies too."""
    plan, profile = serving_plan(repository, profile)
    try:
        checked = check_repository(repository, profile)
    except GlioserveError as error:
        found = short_path(f"[{error.code}] {error.detail}")
        yield Finding("repository", short_path(repository), "fail", found, error.action)
        return
    yield Finding(
        "repository", short_path(repository), "ok", f"whole; profiles {', '.join(profiles(repository)) or 'none'}"
    )
    for served in checked.versions:
        recipe = served.manifest.recipe
        channels = "+".join(map(str, recipe.channels))
        digest = served.manifest.weights_digest[:19]
        found = f"{recipe.name}, {recipe.architecture.name}, {channels}, weights {digest}…, files as in its manifest"
        if served == checked.serving:
            found = f"serves; {found}"
        yield Finding("repository", f"{served.name}/{served.version}", "ok", found)
    yield recipes_brain_model(checked.serving.manifest.recipe.brain_extraction)
    if plan is not None:
        yield plan
    if shadow is not None:
        yield _shadow_finding(repository, shadow)


def _shadow_finding(repository: Path, version: int) -> Finding:
    try:
        candidate = find_candidate(repository, version)
    except GlioserveError as error:
        return Finding("repository", "shadow", "fail", short_path(f"[{error.code}] {error.detail}"), error.action)
    if candidate is None:
        action = "leave --shadow out, or name another version"
        return Finding("repository", "shadow", "warn", f"version {version} serves, so that no shadow runs", action)
    return Finding("repository", "shadow", "ok", f"version {version} can see live studies too")
