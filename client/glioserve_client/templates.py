"""Load the templates of the pages that are written: the client's, and those of the packages above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def page_template(
    package: str, folder: str, name: str, filters: Mapping[str, Callable[..., Any]] | None = None
) -> Template:
    """Return the template ``name`` of ``folder`` in ``package``; every value that it is given is escaped.

    A value that it needs and is not given is an error, never an empty place. ``filters`` are its own, by name.
    """
    environment = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name)
