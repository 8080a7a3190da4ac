"""Draw ``docs/images/brain_heads.png``: synthetic heads as labels (above) and as scans with the true mask (below)."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from glioserve_training.brain.bank import load_head, make_bank
from glioserve_training.brain.head import HeadTissue, SyntheticHead
from glioserve_training.brain.scan import Sample, scan_head

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "images" / "brain_heads.png"
HEADS, SCANS, TILE = 4, 8, 84
OUTLINE = (255, 70, 0)
Picture = npt.NDArray[np.uint8]


def palette() -> Picture:
    """Return a colour for each tissue: brain in greys, fluid in blues, the rest around the colour wheel."""
    colours = [colorsys.hsv_to_rgb((i * 0.381) % 1, 0.55, 0.85) for i in range(len(HeadTissue))]
    table = np.array([[int(255 * c) for c in colour] for colour in colours], dtype=np.uint8)
    known = {"AIR": (0, 0, 0), "GREY": (140,) * 3, "WHITE": (225,) * 3, "DEEP_GREY": (110,) * 3, "BONE": (80, 60, 40)}
    known |= {"CSF": (40, 90, 230), "VENTRICLE": (60, 150, 255), "FAT": (250, 240, 150), "CEREBELLUM": (165,) * 3}
    for name, colour in known.items():
        table[HeadTissue[name]] = colour
    return table


def outlined(picture: Picture, mask: npt.NDArray[np.bool_]) -> Picture:
    """Return the picture with the mask's edge in OUTLINE."""
    picture = picture.copy()
    picture[mask & ~ndimage.binary_erosion(mask)] = OUTLINE
    return picture


def tile(picture: Picture, size: int) -> Picture:
    """Return the picture cropped or padded to a square."""
    picture = picture[:size, :size]
    pad = [(0, size - n) for n in picture.shape[:2]]
    return np.pad(picture, [*pad, (0, 0)])


def head_tiles(head: SyntheticHead) -> list[Picture]:
    """Return an axial and a sagittal plane of the labels."""
    colours, mask = palette(), head.distance < 0
    z, x = head.labels.shape[0] * 5 // 8, head.labels.shape[2] // 2 + 6
    planes = [(head.labels[z], mask[z]), (head.labels[::-1, :, x], mask[::-1, :, x])]
    return [tile(outlined(colours[labels], inside), 2 * TILE) for labels, inside in planes]


def scan_tiles(sample: Sample) -> list[Picture]:
    """Return an axial and a sagittal plane of what the network sees."""
    mask = (sample.distance_mm < 0) & sample.seen
    z, x = sample.image.shape[0] // 2, sample.image.shape[2] // 2
    planes = [(sample.image[z], mask[z]), (sample.image[::-1, :, x], mask[::-1, :, x])]
    return [
        tile(outlined(np.repeat((plane * 255).astype(np.uint8)[..., None], 3, axis=2), inside), TILE)
        for plane, inside in planes
    ]


def main() -> None:
    """Make the heads and draw them."""
    heads = [load_head(f) for f in make_bank(ROOT / "build" / "brain_heads", 0, HEADS, 2)]
    above = np.concatenate([t for head in heads for t in head_tiles(head)], axis=1)
    rng = np.random.default_rng(3)
    samples = [scan_head(heads[i % HEADS], rng, (80, 80, 64)) for i in range(2 * SCANS)]
    tiles = [t for sample in samples for t in scan_tiles(sample)]
    below = np.concatenate([np.concatenate(tiles[i::2], axis=1) for i in range(2)])
    picture = Image.fromarray(below).resize((above.shape[1], below.shape[0] * above.shape[1] // below.shape[1]))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([above, np.asarray(picture)])).save(OUT, optimize=True)
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
