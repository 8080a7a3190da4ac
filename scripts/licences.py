"""List the licence of every package that the default extras install, or fail where one must not be passed on freely.

    .venv/bin/python scripts/licences.py [--out build/sbom/licences.md]

Read from the metadata of the installed packages; what their wheels carry inside is theirs to say. A package under the
GPL or AGPL, under a licence that this script does not know, or that is not installed, makes it return 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEFT_OUT = {"gpl-codecs", "tensorrt", "bench", "dev"}
"""Extras outside the default: the first says what it brings, ``tensorrt`` is NVIDIA's own and comes from
NVIDIA's index, and the others are for development."""
PERMISSIVE = {
    *(
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "MIT",
        "MIT-CMU",
        "MIT-0",
        "ISC",
        "PSF-2.0",
        "Python-2.0",
    ),
    *("0BSD", "CC0-1.0", "HPND", "Unlicense", "Zlib", "ZPL-2.1", "BSD", "LLVM-exception", "MPL-2.0"),
}
"""SPDX identifiers of licences without duties for the code around them; the MPL's end at the package's own files. GCC's
run-time libraries, which NumPy's and SciPy's wheels carry, are permitted beside them by their exception."""
_STATED = {"dumb-init": "MIT"}
"""Licences of packages whose metadata says nothing, by the file of the licence in their wheels."""
_WORDS = (
    (r"\b(A|Affero )GPL|Affero", "AGPL"),
    (r"\bLGPL|Lesser General Public", "LGPL"),
    (r"\bGPL|GNU General Public", "GPL"),
    (r"Apache", "Apache-2.0"),
    (r"\bMPL|Mozilla Public", "MPL-2.0"),
    (r"\bISC\b", "ISC"),
    (r"\bBSD|Redistribution and use in source and binary forms", "BSD"),
    (r"\bMIT\b|Permission is hereby granted, free of charge", "MIT"),
    (r"\bPSF|Python Software Foundation|matplotlib", "PSF-2.0"),
    (r"\bZPL|Zope Public", "ZPL-2.1"),
    (r"\bHPND|Historical Permission", "HPND"),
)
"""Licences as classifiers and free text call them, the strictest first."""


@dataclass(frozen=True)
class Package:
    """One installed package, and what its metadata says of its licence."""

    name: str
    version: str
    licence: str
    """SPDX expression; empty where the metadata says nothing that is understood."""

    @property
    def permitted(self) -> bool:
        """True where every licence that applies at once is permissive."""
        return bool(self.licence) and permits(self.licence)


def permits(expression: str) -> bool:
    """Return whether an SPDX expression can be met by permissive licences alone."""
    flat = expression.replace("(", " ").replace(")", " ")
    return all(any(map(_permitted, group.split(" OR "))) for group in flat.split(" AND "))


def licence_of(found: metadata.PackageMetadata) -> str:
    """Return the SPDX expression of a package as it is stated, or as classifiers or the licence's text make it."""
    if "License-Expression" in found:
        return found["License-Expression"]
    if "Name" in found and (stated := _STATED.get(found["Name"])):
        return stated
    classifiers = [
        c.removeprefix("License :: ") for c in found.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    named = {name for c in classifiers if (name := _named(c))}
    text = found["License"].strip() if "License" in found else ""
    if len(text) < 200 and (_named(text) in ("GPL", "AGPL", "LGPL") or not named):
        named.add(_named(text) or "")  # a short line says more than a classifier that forgets half of it
    elif not named:
        named.add(_named(text[:400]) or "")
    return " AND ".join(sorted(named)) if all(named) else ""


def installed(root: str, extras: Iterable[str]) -> Iterator[str]:
    """Yield the name of each distribution that ``root`` with ``extras`` requires here, directly or by another."""
    done: set[tuple[str, str]] = set()
    open_ = [(canonicalize_name(root), extra) for extra in ("", *extras)]
    while open_:
        name, extra = open_.pop()
        if (name, extra) in done:
            continue
        if name not in {n for n, _ in done}:
            yield name
        done.add((name, extra))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for needed in map(Requirement, lines):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                open_ += [(canonicalize_name(needed.name), e) for e in ("", *needed.extras)]


def packages() -> list[Package]:
    """Return every package of both default installs, by name; a missing one has no version and no licence."""
    names: set[str] = set()
    for root in ("glioserve", "glioserve-client"):
        extras = set(metadata.metadata(root).get_all("Provides-Extra") or []) - LEFT_OUT
        names.update(installed(root, extras))
    found = []
    for name in sorted(names):
        try:
            about = metadata.metadata(name)
            found.append(Package(name, about["Version"], licence_of(about)))
        except metadata.PackageNotFoundError:
            found.append(Package(name, "", ""))
    return found


def main() -> int:
    """Print or write the list; return 1 where a package is not permitted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="a Markdown file to write")
    out: Path | None = parser.parse_args().out
    found = packages()
    rows = [f"| {p.name} | {p.version or 'not installed'} | {p.licence or 'unknown'} |" for p in found]
    table = "\n".join(["| package | version | licence |", "|---|---|---|", *rows]) + "\n"
    if out is None:
        print(table, end="")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(table, encoding="utf-8")
        print(f"{out}: {len(found)} packages")
    wrong = [p for p in found if not p.permitted]
    for package in wrong:
        print(f"{package.name}: {package.licence or 'no licence that is known'}", file=sys.stderr)
    return 1 if wrong else 0


def _permitted(licence: str) -> bool:
    words = licence.strip().split(" WITH ")
    return set(words) <= PERMISSIVE or words[1:] == ["GCC-exception-3.1"]


def _named(text: str) -> str | None:
    return next((name for pattern, name in _WORDS if re.search(pattern, text, re.IGNORECASE)), None)


if __name__ == "__main__":
    sys.exit(main())
