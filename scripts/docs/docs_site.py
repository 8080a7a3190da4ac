"""Hooks of mkdocs: pages that lie outside docs/ join the site, and links that leave docs/ lead to them.

The Markdown stays as a reader of the checkout needs it: ``../docker/README.md`` works there, and on the site it becomes
a link to the copied page. A link to a file that the site does not have (a Python module, a values file) becomes its
path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "docker/README.md",
    "examples/clients/README.md",
    "helm/glioserve/README.md",
    "helm/glioserve/rules/README.md",
)
"""Markdown pages outside docs/ that the site shows under ``source/``."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:)([^)#\s]*)(#[^)\s]*)?\)")
"""A Markdown link or picture whose target is not a URL: picture mark, text, path, anchor."""

ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|exc):(?=<code|<a )")
"""The role before a name in a docstring, which Markdown does not know."""
FOREIGN = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
"""An element that makes the reader's browser fetch something from another host."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every runbook and every decision record under the navigation's last entries."""
    runbooks = sorted(path.name for path in (ROOT / "docs" / "runbooks").glob("Glioserve*.md"))
    records = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert config.nav is not None
    config.nav[-2]["Runbooks"] = ["runbooks/index.md", *(f"runbooks/{name}" for name in runbooks)]
    config.nav[-1]["Decisions"] = ["adr/README.md", *(f"adr/{name}" for name in records)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and the index page that readers land on."""
    for name in OUTSIDE:
        files.append(File.generated(config, f"source/{name}", content=(ROOT / name).read_text(encoding="utf-8")))
    landing = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=source/index.html">\n'
    files.append(File.generated(config, "index.html", content=landing))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with every relative link changed from the checkout's paths to the site's."""
    site_path = PurePosixPath(page.file.src_uri)
    checkout_path = _checkout_path(site_path)

    def mended(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.group(1), match.group(2), match.group(3), match.group(4) or ""
        if not target:
            return match.group(0)
        aim = posixpath.normpath(posixpath.join(checkout_path.parent, target))
        place = _site_path(aim)
        if files.get_file_from_path(place) is None:
            return text if text.strip("`") == aim else f"{text} (`{aim}`)"
        return f"{picture}[{text}]({posixpath.relpath(place, site_path.parent)}{anchor})"

    return LINK.sub(mended, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page without the roles of its docstrings."""
    return ROLE.sub("", html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that fetches anything from elsewhere; links that a reader may follow are allowed."""
    foreign = FOREIGN.search(output)
    if foreign:
        raise PluginError(f"{page.file.src_uri} would fetch from elsewhere: {foreign.group(0)}")
    return output


def _checkout_path(site_path: PurePosixPath) -> PurePosixPath:
    """Return where a page of the site lies in the checkout."""
    return site_path.relative_to("source") if site_path.parts[0] == "source" else "docs" / site_path


def _site_path(checkout_path: str) -> str:
    """Return where a file of the checkout would lie on the site."""
    return checkout_path.removeprefix("docs/") if checkout_path.startswith("docs/") else f"source/{checkout_path}"
