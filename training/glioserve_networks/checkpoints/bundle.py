"""MONAI bundles: a folder, or a zip archive of one, with ``models/model.pt`` and ``configs/metadata.json``.

A bundle's description of its network is *compared* with the recipe, and a difference refuses the import (GLIO-5116
names both sides). It is never used to fill the recipe in: a bundle's words are free text, and not every bundle's are
true.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from glioserve_contract.records.recipe import CLASSES, Recipe
from glioserve_contract.sequences import SEQUENCES
from glioserve_networks.architectures.options import defaults_of
from glioserve_networks.checkpoints.checkpoint import SAVE_ADVICE, open_archive, refusal, shown, starts_as_archive
from glioserve_preprocess.files import file_digest

MODEL = "models/model.pt"
METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"

MAX_CONFIG_BYTES = 4 << 20

_MODALITY_NAMES = {name: modality for modality, entry in SEQUENCES.items() for name in entry.channel_names}
"""Spellings, without case and punctuation, of the sequences in a ``channel_def``."""
_COMPARED = ("conv1_t_size", "conv1_t_stride", "no_max_pool", "widen_factor", "bias_downsample")
"""Options of MONAI's networks that ours have under the same name; no shape shows the second and the third."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    model: Path
    digest: str
    """SHA-256 of the zip archive, or of a folder's ``models/model.pt``."""
    metadata: dict[str, object]
    inference: dict[str, object]
    """Content of ``configs/inference.json``; empty where the bundle has none as JSON."""


def is_bundle(path: Path) -> bool:
    """Return True for a folder or a zip archive of a bundle; raise GLIO-5116 for a damaged archive."""
    if path.is_dir():
        return True
    if not path.is_file() or not starts_as_archive(path):
        return False
    with open_archive(path) as archive:
        return any(_inside(name) in (MODEL, METADATA) for name in archive.namelist())


@contextmanager
def open_bundle(path: Path, max_bytes: int) -> Iterator[Bundle]:
    """Yield the bundle; only the three known members of an archive are unpacked, under names of ours, while it is open.

    ``max_bytes`` is the largest size that ``model.pt`` may unpack to.
    """
    if path.is_dir():
        yield Bundle(
            _file(path, MODEL),
            file_digest(_file(path, MODEL)),
            _parsed(_small(_file(path, METADATA)), METADATA),
            _parsed(_small(_file(path, INFERENCE)), INFERENCE) if (path / INFERENCE).exists() else {},
        )
        return
    with tempfile.TemporaryDirectory(prefix="glioserve-bundle-") as folder, open_archive(path) as archive:
        model = Path(folder) / "model.pt"
        _unpack(archive, MODEL, model, max_bytes)
        texts = {}
        for name in (METADATA, INFERENCE):
            if name == METADATA or _members(archive, name):
                _unpack(archive, name, Path(folder) / "config.json", MAX_CONFIG_BYTES)
                texts[name] = _parsed((Path(folder) / "config.json").read_bytes(), name)
        yield Bundle(model, file_digest(path), texts[METADATA], texts.get(INFERENCE, {}))


def compare(bundle: Bundle, recipe: Recipe) -> tuple[str, ...]:
    """Compare the bundle with the recipe and return a line for each value; raise GLIO-5116 with all that differ."""
    checks = list(_checks(bundle, recipe))
    wrong = [f"{what} {theirs} in the bundle, {ours} in the recipe" for what, theirs, ours in checks if theirs != ours]
    if wrong:
        raise refusal(
            f"The bundle contradicts the recipe: {'; '.join(wrong)}. Correct the one that is wrong; nothing is taken "
            "from a bundle's configuration."
        )
    return tuple(f"the bundle's {what} is the recipe's: {theirs}" for what, theirs, _ in checks)


def _checks(bundle: Bundle, recipe: Recipe) -> Iterator[tuple[str, object, object]]:
    """Yield (name, the bundle's value, the recipe's value) for everything that the bundle states in plain values."""
    data = bundle.metadata.get("network_data_format")
    data = data if isinstance(data, dict) else {}
    image, outputs = _first(data.get("inputs")), _first(data.get("outputs"))
    if _is_number(image.get("num_channels")):
        yield "number of channels", image["num_channels"], len(recipe.channels)
    size = image.get("spatial_shape")
    if isinstance(size, list) and all(_is_number(n) for n in size):  # others are rules: "16*n", "*"
        yield "input size (D, H, W)", size, list(recipe.grid.shape)
    if _is_number(outputs.get("num_channels")):
        yield "number of classes", outputs["num_channels"], len(CLASSES)
    channels = [_MODALITY_NAMES.get(name) for name in _named(image.get("channel_def"))]
    if channels and all(channels):
        yield "order of channels", [str(m) for m in channels], [m.value for m in recipe.channels]
    classes = _named(outputs.get("channel_def"))
    if sorted(classes) == sorted(CLASSES):
        yield "order of classes", classes, list(recipe.classes)
    network = bundle.inference.get("network_def")
    network = network if isinstance(network, dict) else {}
    if _is_number(network.get("spatial_dims")):
        yield "number of dimensions", network["spatial_dims"], 3
    if network.get("shortcut_type") == "A":
        yield "shortcut_type", "A", "B"
    options = {**defaults_of(recipe.architecture.name), **recipe.architecture.options}
    for name in _COMPARED:
        stated = _one(network.get(name))
        if stated is not None and name in options:
            yield name, stated, options[name]


def _first(ports: object) -> dict[str, object]:
    """Return the only input or output that a metadata file describes; nothing where there are more."""
    if isinstance(ports, dict) and len(ports) == 1:
        port = next(iter(ports.values()))
        return port if isinstance(port, dict) else {}
    return {}


def _named(definition: object) -> list[str]:
    """Return the names of a ``channel_def`` ({"0": "T1", ...}) in order, in lower case and without punctuation."""
    if not isinstance(definition, dict) or not all(str(k).isdecimal() for k in definition):
        return []
    ordered = sorted(definition.items(), key=lambda item: int(item[0]))
    return [re.sub(r"[^a-z0-9]", "", str(name).lower()) for _, name in ordered]


def _one(value: object) -> object:
    """Return a plain value; that of all axes where a list has one for each. None for references and expressions."""
    if isinstance(value, list) and value and all(item == value[0] for item in value):
        return _one(value[0])
    return value if isinstance(value, (bool, int, float, list)) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _file(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder; GLIO-5116 for a link that leads out of it."""
    file = folder / name
    if not file.is_file():
        raise _incomplete(name)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise refusal(f"The bundle's {name} is a link that leads out of its folder: put the file itself there.")
    return file


def _small(file: Path) -> bytes:
    if file.stat().st_size > MAX_CONFIG_BYTES:
        raise _too_large(file.name, MAX_CONFIG_BYTES)
    return file.read_bytes()


def _inside(name: str) -> str:
    """Return a member's path in its bundle, which is the archive itself or one folder in it; empty for others."""
    parts = PurePosixPath(name).parts
    return "/".join(parts[-2:]) if len(parts) in (2, 3) and ".." not in parts and parts[0] != "/" else ""


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if _inside(member.filename) == name]


def _unpack(archive: zipfile.ZipFile, name: str, target: Path, max_bytes: int) -> None:
    """Unpack one member into ``target``; GLIO-5116 for a link, a second of the name or more than ``max_bytes``."""
    found = _members(archive, name)
    if not found:
        raise _incomplete(name)
    member = found[0]
    if len(found) > 1 or stat.S_ISLNK(member.external_attr >> 16) or member.is_dir():
        raise refusal(f"The bundle's {name} is a link, a folder or there twice.")
    if member.file_size > max_bytes:
        raise _too_large(name, max_bytes)
    with archive.open(member) as source, target.open("wb") as file:  # zipfile stops at the declared size
        shutil.copyfileobj(source, file, 1 << 20)


def _parsed(content: bytes, name: str) -> dict[str, object]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise refusal(f"The bundle's {name} is not a JSON object.") from error
    if not isinstance(value, dict):
        raise refusal(f"The bundle's {name} is not a JSON object.")
    return value


def _incomplete(name: str) -> Exception:
    return refusal(
        f"The bundle has no {name}. A bundle is a folder, or a zip archive of one, with {MODEL} (a state dict; "
        f"model.ts is TorchScript, which is not read) and {METADATA}. {SAVE_ADVICE}"
    )


def _too_large(name: str, max_bytes: int) -> Exception:
    return refusal(f"The bundle's {shown(name)} is over {max_bytes >> 20} MiB: more than the recipe's network needs.")
