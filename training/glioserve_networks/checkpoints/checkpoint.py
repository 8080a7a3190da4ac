"""Checkpoints from outside, read without running anything in them.

A ``.pt`` file is a pickle, and unpickling runs what the file names. Only torch's ``weights_only`` reader is used, which
builds tensors and plain containers and nothing else, with torch's own list of what is harmless and no library's
additions. What it cannot read is refused, never tried in another way. What a file says of its own sizes is not
believed. Every refusal is GLIO-5116.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_preprocess.files import file_digest

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network")
"""Keys under which training frameworks keep the network's state dict beside an optimiser's."""

SAVE_ADVICE = "Save a plain state dict where it was trained: torch.save(model.state_dict(), 'weights.pt')."
SHOWN = 10
"""Names listed in a message; the rest is counted."""

_ZIP = b"PK\x03\x04"
_KNOWN_OTHERS = {
    b"\x89HDF": "an HDF5 file (Keras, or a legacy MATLAB file)",
    b"GGUF": "a GGUF file",
    b"\x93NUM": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zX": "an xz archive",
}
_MAX_SAFETENSORS_HEADER_BYTES = 100 << 20
"""Longest header that the safetensors format allows, in bytes."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
"""A name that torch reports it would have to import."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Named tensors as a file has them: no names changed, no types converted."""

    tensors: dict[str, torch.Tensor]
    format: str
    digest: str
    """SHA-256 of the file."""
    notes: tuple[str, ...] = ()
    """Sentences about what was left aside or unwrapped, for the user who imports the file."""


def refusal(detail: str) -> GlioserveError:
    """Return GLIO-5116 with this detail."""
    return GlioserveError(ErrorCode.INVALID_CHECKPOINT, detail)


def read_weights(path: Path) -> Checkpoint:
    """Read a PyTorch state dict (plain or under one of :data:`WRAPPERS`) or a safetensors file."""
    if not path.is_file():  # not a device or a pipe, which would be read for ever
        raise refusal("The checkpoint is not a file.")
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise refusal("The checkpoint is empty.")
    if start.startswith(_ZIP):
        _check_torch_archive(path)
        return _torch(path, "PyTorch state dict", mapped=True)
    if _is_safetensors(start):
        return _safetensors(path)
    if start[0] == 0x80 and 1 <= start[1] <= 5:  # PROTO and its number
        return _torch(path, "PyTorch state dict (before 1.6)", mapped=False)
    known = next(
        (what for magic, what in _KNOWN_OTHERS.items() if start.startswith(magic)), "of no format that is read"
    )
    raise refusal(f"The checkpoint is {known}: a PyTorch state dict, safetensors or a MONAI bundle is. {SAVE_ADVICE}")


def _check_torch_archive(path: Path) -> None:
    """Refuse TorchScript, other archives, and members that unpack to more than the file has."""
    with open_archive(path) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise refusal(
            "The checkpoint is TorchScript: a program, whose code would have to be run. "
            f"{SAVE_ADVICE} If only the script is left: torch.save(torch.jit.load(file).state_dict(), 'weights.pt'), "
            "on a machine where running it is safe."
        )
    if "data.pkl" not in inner:
        raise refusal(f"The checkpoint is a zip archive that PyTorch did not write. {SAVE_ADVICE}")
    stored = sum(member.file_size for member in members)
    if stored > path.stat().st_size or any(m.compress_type != zipfile.ZIP_STORED for m in members):
        # PyTorch stores its tensors as they are, so that they can be mapped.
        raise refusal(
            "The checkpoint's archive is compressed, which PyTorch never does: save it with torch.save again."
        )


def starts_as_archive(path: Path) -> bool:
    """Return True if the file is a zip archive from its first byte on, as torch requires."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive; every error of zipfile becomes a refusal (GLIO-5116)."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except GlioserveError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on a damaged archive
        raise refusal(f"The checkpoint is truncated or damaged: its zip archive cannot be read ({error}).") from error


def _torch(path: Path, file_format: str, *, mapped: bool) -> Checkpoint:
    try:
        with _torchs_own_list(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, about how an old file was written
            # Mapped, a storage is a slice of the file: one that claims to be longer than its record is cut, not read
            # from beyond it.
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds on what it cannot read
        raise _not_loaded(error) from error
    tensors, notes = _unwrapped(loaded)
    return Checkpoint(tensors, file_format, file_digest(path), notes)


@contextmanager
def _torchs_own_list() -> Iterator[None]:
    """Remove, in the block, the types that libraries have added to those that ``weights_only`` may build."""
    added = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(added)


def _not_loaded(error: Exception) -> GlioserveError:
    wanted = sorted(set(_GLOBAL.findall(str(error))))
    if wanted:
        return refusal(
            f"The checkpoint needs {', '.join(wanted[:SHOWN])} to be unpickled: a whole module or its settings, not "
            f"weights alone. Code in a checkpoint is never run. {SAVE_ADVICE}"
        )
    return refusal(
        f"The checkpoint is truncated, damaged or more than weights: PyTorch's weights_only reader refuses it "
        f"({type(error).__name__}). {SAVE_ADVICE}"
    )


def _unwrapped(loaded: object) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Return the state dict, and notes on where it was found."""
    if not isinstance(loaded, Mapping) or not loaded:
        raise refusal(f"The checkpoint holds a {type(loaded).__name__}, not named tensors. {SAVE_ADVICE}")
    if all(isinstance(value, torch.Tensor) for value in loaded.values()):
        return _checked(loaded), ()
    found = [key for key in WRAPPERS if isinstance(loaded.get(key), Mapping) and loaded[key]]
    if len(found) > 1:
        raise refusal(
            f"The checkpoint holds several state dicts ({', '.join(found)}): save the one that is meant alone."
        )
    if not found:
        raise refusal(
            f"The checkpoint holds {listed([str(key) for key in loaded])}, and no state dict under "
            f"{', '.join(WRAPPERS)}. {SAVE_ADVICE}"
        )
    inner = loaded[found[0]]
    others = [name for name, value in inner.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise refusal(f"{listed([str(n) for n in others])} under {found[0]!r} are not tensors. {SAVE_ADVICE}")
    return _checked(inner), (f"took the state dict under {found[0]!r}",)


def _checked(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors as a dict; GLIO-5116 unless all are named, dense, of numbers and in the CPU's memory."""
    for name, tensor in tensors.items():
        if not isinstance(name, str):  # a pickle may hold any key
            raise refusal(f"A tensor of the checkpoint has the name {shown(name)}, which is not a text.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_nested:
            raise refusal(f"{shown(name)} is sparse, quantised or without values: save it as a dense tensor of floats.")
    return dict(tensors)


def _is_safetensors(start: bytes) -> bool:
    if len(start) < 9 or start[8:9] != b"{":
        return False
    (header_bytes,) = struct.unpack("<Q", start[:8])
    return bool(header_bytes <= _MAX_SAFETENSORS_HEADER_BYTES)


def _safetensors(path: Path) -> Checkpoint:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise refusal(f"The safetensors file is truncated or damaged: {error}.") from error
    if not tensors:
        raise refusal("The checkpoint holds no tensors.")
    return Checkpoint(_checked(tensors), "safetensors", file_digest(path))


def shown(name: object) -> str:
    """Return a name that a file has chosen in a form fit for a message."""
    text = str(name)
    return repr(text if len(text) <= 80 else text[:77] + "...")


def listed(names: list[str]) -> str:
    """Return the first :data:`SHOWN` names as text, and how many more there are."""
    few = ", ".join(shown(name) for name in names[:SHOWN])
    return few if len(names) <= SHOWN else f"{few} and {len(names) - SHOWN} more"
