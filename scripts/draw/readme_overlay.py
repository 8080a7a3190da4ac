"""Draw ``docs/images/demo_overlay.jpg``: the overlay of the demo's phantom, answered by the real Triton server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "images" / "demo_overlay.jpg"
ANSWER = ROOT / "build" / "readme_overlay"
WIDTH_PX = 1100
QUALITY = 88
"""JPEG quality, without chroma subsampling: a palette of 256 colours would break the heat map's ramp into steps."""
MOST_BYTES = 400_000


def scale_overlay(overlay: Image.Image) -> Image.Image:
    """Return the overlay at the README's width."""
    height = round(overlay.height * WIDTH_PX / overlay.width)
    return overlay.convert("RGB").resize((WIDTH_PX, height), Image.Resampling.LANCZOS)


def save_scaled(source: Path) -> int:
    """Write the overlay in ``source`` to OUT and return its size in bytes."""
    with Image.open(source) as overlay:
        scale_overlay(overlay).save(OUT, quality=QUALITY, subsampling=0, optimize=True)
    return OUT.stat().st_size


def main() -> None:
    """Run the demo and keep its overlay, scaled down."""
    demo = [sys.executable, "-m", "glioserve_cli.main", "demo", "--out", str(ANSWER)]
    subprocess.run(demo, cwd=ROOT, check=True)
    size = save_scaled(ANSWER / "overlay.png")
    if size > MOST_BYTES:
        raise SystemExit(f"{OUT.relative_to(ROOT)} has {size} bytes; the README's picture may have {MOST_BYTES}.")
    print(f"{OUT.relative_to(ROOT)}: {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
