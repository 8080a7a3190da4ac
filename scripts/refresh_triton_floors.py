"""Bring the table of Triton's known holes up to date from NVIDIA's CSAF files.

    .venv/bin/python scripts/refresh_triton_floors.py FOLDER

FOLDER has the JSON files of https://github.com/NVIDIA/product-security, or some of them. Bulletins of other products
are passed over. New holes are added, a hole that is known takes the release that NVIDIA now names, and the security
floor becomes the newest of those. Versions, container releases and the function floor come from release notes, by hand.
A hole whose release cannot be read is named and makes the script return 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glioserve_triton.process.floors import TABLE, release_number

PRODUCT = re.compile(r"triton\s+inference\s+server", re.IGNORECASE)
RELEASE = re.compile(r"(?<![\d.])r?(\d\d\.\d\d)(?![\d.])")
MAX_IMPACT = 120
"""Characters of an impact that the table takes."""


def main(folder: Path, table: Path = TABLE) -> int:
    """Read every bulletin below ``folder`` and write the table; return 1 where a hole was not understood."""
    content = json.loads(table.read_text(encoding="utf-8"))
    holes = {hole["cve"]: hole for hole in content["holes"]}
    before, unclear, dates = len(holes), [], [content["dated"]]
    for file in sorted(folder.rglob("*.json")):
        for bulletin in _bulletins(file):
            dates.append(str(bulletin["document"]["tracking"]["current_release_date"])[:10])
            for flaw in bulletin.get("vulnerabilities", []):
                cve, fixed = flaw.get("cve", ""), _fixed_in(flaw, _products(bulletin["product_tree"]))
                if not fixed:
                    unclear.append(f"{file.name}: {cve or 'a hole without a CVE number'}")
                    continue
                known = holes.get(cve, {"cve": cve, "impact": _impact(flaw)})
                holes[cve] = {**known, "fixed_in": fixed}
    content["holes"] = sorted(
        ({name: hole[name] for name in ("cve", "fixed_in", "impact")} for hole in holes.values()),
        key=lambda hole: (release_number(hole["fixed_in"]), hole["cve"]),
    )
    content["security_floor"] = max(
        (content["security_floor"], *(hole["fixed_in"] for hole in content["holes"])), key=release_number
    )
    content["dated"] = max(dates)
    table.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{table}: {len(holes)} holes ({len(holes) - before} new), floor {content['security_floor']}")
    for line in unclear:
        print(f"{line}: no release that closes it was found", file=sys.stderr)
    return 1 if unclear else 0


def _bulletins(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's content where it is a CSAF bulletin of Triton."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    document = content.get("document") if isinstance(content, dict) else None
    if isinstance(document, dict) and "csaf_version" in document and _products(content.get("product_tree", {})):
        yield content


def _products(tree: dict[str, Any]) -> dict[str, str]:
    """Return name by product_id of everything in a tree that belongs to Triton."""
    found: dict[str, str] = {}

    def walk(branch: dict[str, Any], inside: bool) -> None:
        product = branch.get("product", {})
        texts = (branch.get("name", ""), product.get("name", ""), product.get("product_id", "").replace("_", " "))
        inside = inside or any(PRODUCT.search(text) for text in texts)
        if inside and product:
            found[product["product_id"]] = product.get("name", "")
        for child in branch.get("branches", []):
            walk(child, inside)

    walk(tree, False)
    return found


def _fixed_in(flaw: dict[str, Any], products: dict[str, str]) -> str | None:
    """Return the newest release that a hole's fixed products name: a server needs the last of its fixes."""
    fixed = flaw.get("product_status", {}).get("fixed", [])
    releases = [match[1] for name in fixed for match in RELEASE.finditer(products.get(name, ""))]
    return max(releases, key=release_number, default=None)


def _impact(flaw: dict[str, Any]) -> str:
    notes = flaw.get("notes", [])
    text = next((note.get("text", "") for note in notes if note.get("title") == "Impacts"), "not stated")
    return text.strip().lower()[:MAX_IMPACT]


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: {Path(sys.argv[0]).name} FOLDER")
    sys.exit(main(Path(sys.argv[1])))
