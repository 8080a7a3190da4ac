"""A version whose network is a table of answers, and a machine whose TensorRT and GPU are stand-ins."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from glioserve_contract.records.manifest import model_id
from glioserve_contract.records.recipe import Recipe
from glioserve_export.graphs.probes import probe_studies
from glioserve_export.graphs.vectors import Vectors, save_vectors
from glioserve_export.version_files import FP16_FILE, VECTORS_FILE
from glioserve_preprocess.files import file_digest
from glioserve_registry.layout.repository import add_version
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.recipes import fake_export, tiny_recipe

TESTS = Path(__file__).resolve().parents[2]
A30: dict[str, object] = {"name": "NVIDIA A30", "capability": [8, 0]}
L4: dict[str, object] = {"name": "NVIDIA L4", "capability": [8, 9]}


def small_graph(recipe: Recipe, name: str = "small", operator: str = "Relu") -> bytes:
    """A graph that is checked and never run: IMAGE through one operator to LOGITS, CAM and MODEL_ID."""
    depth, height, width = recipe.grid.shape
    channels = len(recipe.channels)

    def tensor(tensor_name: str, kind: int, *dims: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor_name, kind, ["batch", *dims])

    nodes = [
        helper.make_node(operator, ["IMAGE"], ["CAM"], name="node_one"),
        helper.make_node("ReduceMean", ["CAM", "axes"], ["LOGITS"], name="node_mean", keepdims=0),
        helper.make_node("Shape", ["IMAGE"], ["shape"], name="node_shape", start=0, end=1),
        helper.make_node("Expand", ["id", "shape"], ["MODEL_ID"], name="node_id"),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [tensor("IMAGE", TensorProto.FLOAT, channels, depth, height, width)],
        [
            tensor("LOGITS", TensorProto.FLOAT, channels),
            tensor("CAM", TensorProto.FLOAT, channels, depth, height, width),
            helper.make_tensor_value_info("MODEL_ID", TensorProto.INT32, ["batch"]),
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [2, 3, 4]),
            helper.make_tensor("id", TensorProto.INT32, [1], [7]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def stored_answers(recipe: Recipe, seed: int = 0) -> Vectors:
    """Answers to the recipe's probe studies, all different."""
    rng = np.random.default_rng(seed)
    images = probe_studies(recipe)
    return Vectors(
        images=images,
        logits=rng.normal(0, 3, (len(images), 2)).astype(np.float32),
        cam=rng.random((len(images), 2, 4, 4, 4)).astype(np.float32),
    )


def engine_version(folder: Path, *, fp16: bool = True, operator: str = "Relu", name: str = "small") -> Path:
    """A version's folder with fp32 and fp16 ONNX files and stored answers, all in its manifest."""
    recipe = tiny_recipe(name=name)
    fake_export(folder, recipe, model=small_graph(recipe, "fp32", operator))
    if fp16:
        (folder / FP16_FILE).write_bytes(small_graph(recipe, "fp16", operator))
    save_vectors(stored_answers(recipe), folder)
    added = [VECTORS_FILE, *([FP16_FILE] if fp16 else [])]
    manifest = load_manifest(folder)
    files = {**manifest.files, **{file: file_digest(folder / file) for file in added}}
    save_manifest(replace(manifest, files=files), folder)
    return folder


def engine_repository(folder: Path, count: int = 1) -> Path:
    """A repository of such versions, of which the first serves."""
    for number in range(1, count + 1):
        add_version(folder, engine_version(folder.with_name(f"{folder.name} exported") / str(number)))
    return folder


@dataclass
class Machine:
    """Stand-ins that decide what NVIDIA's programs say and do; changes count from the next one on."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def programs(self) -> Path:
        """A folder on PATH."""
        return self.folder / "bin"

    def set(self, **variables: str) -> None:
        """Set variables of the stand-ins' environment: FAKE_TRT_VERSION, FAKE_TRT_FAULT, …"""
        for name, value in variables.items():
            self.environment[name] = value
            self.monkeypatch.setenv(name, value)

    def program(self, name: str, text: str) -> Path:
        """An executable of this name and text."""
        file = self.programs / name
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return file

    def gpus(
        self, *gpus: Mapping[str, object], seconds: float = 0, error: str | None = None, as_bytes: bool = False
    ) -> None:
        """Set what NVIDIA's management library answers: each GPU a mapping of name, capability and MIG ``slices``."""
        answer = {"gpus": gpus, "driver": "580.65.06", "seconds": seconds, "error": error, "bytes": as_bytes}
        (self.folder / "nvml.json").write_text(json.dumps(answer))

    def no_driver(self) -> None:
        """The package is installed, the driver's library is not."""
        self.gpus(error="LibraryNotFound")

    def trtexec(self) -> Path:
        """The stand-in on PATH, and no Python package."""
        return self.program(
            "trtexec",
            f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(TESTS)!r})\n"
            "from support.tensorrt.fake_trtexec import main\nsys.exit(main())\n",
        )

    def python_package(self) -> None:
        """The stand-in of the Python package, and CUDA's driver over the host's memory."""
        self.import_from(TESTS / "support" / "tensorrt" / "tensorrt_fake")
        self.set(LD_LIBRARY_PATH=str(libcuda(self.folder).parent))

    def import_from(self, folder: Path) -> None:
        """Let interpreters that are started find the modules of ``folder`` before all others."""
        path = [str(folder), os.environ.get("PYTHONPATH", "")]
        self.set(PYTHONPATH=os.pathsep.join(p for p in path if p))

    def answers(self, version: Path, vectors: Vectors | None = None) -> None:
        """Set what the network answers: the version's stored answers, or others."""
        manifest = load_manifest(version)
        vectors = vectors or stored_answers(manifest.recipe)
        words = list(model_id(manifest.weights_digest))
        rows = zip(vectors.images, vectors.logits.tolist(), vectors.cam.tolist(), strict=True)
        stored = {
            image.astype(np.float32).tobytes(): {"LOGITS": logits, "CAM": cam, "MODEL_ID": words}
            for image, logits, cam in rows
        }
        file = self.folder / "answers.pickle"
        file.write_bytes(pickle.dumps(stored))
        self.set(FAKE_TRT_ANSWERS=str(file))


def make_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One GPU, no TensorRT."""
    machine = Machine(folder, monkeypatch)
    machine.programs.mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{machine.programs}{os.pathsep}{os.environ['PATH']}")
    machine.import_from(TESTS / "support" / "tensorrt" / "nvml_fake")
    machine.set(FAKE_NVML=str(folder / "nvml.json"))
    machine.gpus(A30)
    return machine


def libcuda(folder: Path) -> Path:
    """``libcuda.so.1`` of fake_libcuda.c; skips where there is no C compiler."""
    library = folder / "lib" / "libcuda.so.1"
    library.parent.mkdir(exist_ok=True)
    source = TESTS / "support" / "tensorrt" / "fake_libcuda.c"
    try:
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the stand-in of CUDA's driver needs a C compiler: {error}")
    return library


def python(code: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Another interpreter of this environment."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **(environment or {})}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def living(pid: int) -> bool:
    """Return whether a process runs; one that ended and was not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
