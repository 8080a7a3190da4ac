"""Outside checkpoints are read without running anything in them; damaged and hostile ones are refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_networks.checkpoints.checkpoint import read_weights
from glioserve_networks.checkpoints.fit import fit
from support.models.checkpoints import (
    RECIPE,
    bundle_folder,
    in_memory,
    refused,
    saved,
    tiny_weights,
    zipped,
)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return tiny_weights()


class Malicious:
    """Unpickled, it would write a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("way", ["zip", "legacy", "bare pickle", "bundle folder", "bundle zip", "inside a state dict"])
def test_a_malicious_pickle_is_never_run(
    weights: dict[str, torch.Tensor], way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # not even then
    witness = tmp_path / "witness"
    payload: Any = {"state_dict": weights, "extra": Malicious(witness)}
    if way == "inside a state dict":
        payload = {**weights, "fc.bias": Malicious(witness)}
    content = in_memory(payload, _use_new_zipfile_serialization=way != "legacy")
    path = tmp_path / "weights.pt"
    if way == "bare pickle":
        content = pickle.dumps(payload)
    if way.startswith("bundle"):
        path = bundle_folder(tmp_path / "bundle", content)
        path = zipped(path, tmp_path / "bundle.zip") if way == "bundle zip" else path
    else:
        path.write_bytes(content)
    assert ("system" if way != "bare pickle" else "more than weights") in refused(path)
    assert not witness.exists()
    if way == "zip":  # the test itself is live: the unsafe reader would have run it
        torch.load(path, weights_only=False)
        assert witness.exists()


def test_a_library_cannot_widen_what_may_be_built(
    weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._weights_only_unpickler._marked_safe_globals_set", {Path, type(tmp_path)})
    path = saved({"state_dict": weights, "folder": tmp_path}, tmp_path)
    torch.load(path, weights_only=True)
    assert "pathlib" in refused(path)
    assert torch.serialization.get_safe_globals() != []  # put back


def test_a_whole_module_is_refused_with_advice(tmp_path: Path) -> None:
    detail = refused(saved(nn.Sequential(nn.Conv3d(3, 2, 3), nn.ReLU()), tmp_path))
    assert "torch.nn.modules.container.Sequential" in detail
    assert "torch.save(model.state_dict()" in detail


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_is_refused_with_advice(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "model.ts"))
    detail = refused(tmp_path / "model.ts")
    assert "TorchScript" in detail
    assert "torch.jit.load" in detail


# Damaged and hostile files


def torch_archive(data: bytes, **records: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/version", b"3\n")
        for name, content in records.items():
            archive.writestr(f"a/data/{name[1:]}", content)
    return stream.getvalue()


def longer_than_its_record() -> bytes:
    """A storage of four numbers that claims a million."""
    with zipfile.ZipFile(io.BytesIO(in_memory({"w": torch.arange(4.0)}))) as archive:
        data = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    claimed = data.replace(b"K\x04", b"J" + struct.pack("<i", 10**6))
    assert claimed != data
    return torch_archive(claimed, _0=b"\0" * 16)


def compressed(weights: dict[str, torch.Tensor]) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(in_memory(weights))) as source,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for member in source.infolist():
            archive.writestr(member.filename, source.read(member))
    return stream.getvalue()


def hostile(weights: dict[str, torch.Tensor], kind: str) -> bytes:
    whole = in_memory(weights)
    safe = struct.pack("<Q", 100) + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    return {
        "empty": b"",
        "one byte": b"P",
        "half a zip": whole[: len(whole) // 2],
        "a zip's head": whole[:100],
        "half a legacy file": in_memory(weights, _use_new_zipfile_serialization=False)[:4000],
        "no format": b"not weights at all" * 100,
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "gzip": b"\x1f\x8b" + bytes(100),
        "an empty zip": b"PK\x05\x06" + bytes(18),
        "another zip": torch_archive(b"").replace(b"data.pkl", b"diff.pkl"),
        "no pickle": torch_archive(b"\x80\x02garbage."),
        "an endless pickle": torch_archive(b"\x80\x02" + b"(" * 100_000),
        "a huge long": torch_archive(b"\x80\x02\x8b\xff\xff\xff\x7f."),
        "longer than its record": longer_than_its_record(),
        "compressed": compressed(weights),
        "safetensors of a huge header": struct.pack("<Q", 1 << 62) + b"{" + bytes(20),
        "safetensors of a huge tensor": safe.ljust(200),
        "half a safetensors file": struct.pack("<Q", 90) + b'{"a":{"dtype":"F32","shape"',
        "safetensors that is not JSON": struct.pack("<Q", 4) + b"{{{{" + bytes(20),
    }[kind]


KINDS = (
    "empty", "one byte", "half a zip", "a zip's head", "half a legacy file", "no format", "hdf5", "gzip",
    "an empty zip", "another zip", "no pickle", "an endless pickle", "a huge long", "longer than its record",
    "compressed", "safetensors of a huge header", "safetensors of a huge tensor", "half a safetensors file",
    "safetensors that is not JSON",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_refused(weights: dict[str, torch.Tensor], kind: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(hostile(weights, kind))
    detail = refused(tmp_path / "weights.pt")
    assert str(tmp_path) not in detail
    assert len(detail) < 1000


def test_flipped_and_cut_files_are_read_or_refused_and_nothing_else(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    generator = torch.Generator().manual_seed(0)
    for legacy in (False, True):
        whole = in_memory(weights, _use_new_zipfile_serialization=not legacy)
        for trial in range(60):
            at = int(torch.randint(len(whole), (1,), generator=generator))
            # The head and the tail hold the structure; most of the file is numbers, which may be any.
            at = at % 3000 if trial % 3 == 0 else len(whole) - 1 - at % 3000 if trial % 3 == 1 else at
            damaged = bytearray(whole)
            damaged[at] ^= 1 << trial % 8
            path.write_bytes(bytes(damaged) if trial % 2 else whole[:at])
            try:
                fit(read_weights(path), RECIPE)
            except GlioserveError as error:
                assert error.code is ErrorCode.INVALID_CHECKPOINT  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("kind", ["missing", "a pipe"])
def test_what_is_no_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    if kind == "a pipe":
        os.mkfifo(tmp_path / "weights.pt")
    assert "is not a file" in refused(tmp_path / "weights.pt")
