"""One network on every CPU runtime, with Grad-CAM and without, in turn; what each answers and what it costs.

A network is measured in a process of its own, so that its memory goes with it. With one thread the clock is the
process's CPU time, which other work on the machine hardly touches; with more it is the wall's.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from monai.visualize.class_activation_maps import GradCAM
from scipy.special import softmax
from torch.utils.flop_counter import FlopCounterMode

from common import ROOT
from glioserve_contract import Modality
from glioserve_contract.records.recipe import CLASSES, RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_contract.tensors import CAM, IMAGE, LOGITS
from glioserve_export.graphs.graph import ServedGraph
from glioserve_export.graphs.onnx_export import export_onnx
from glioserve_export.graphs.probes import INPUTS, probe_studies
from glioserve_export.variants.int8 import quantised
from glioserve_networks import ClassifierNet
from glioserve_networks.gradcam import SplitNetwork, evidence, logits_and_gradient

sys.path.insert(0, str(ROOT / "tests"))
from support.models.networks import random_network

CHANNELS = (Modality.T1, Modality.T1CE, Modality.T2)
STUDIES = ("brain", "random")
"""Probe studies that drift is measured on. The first is timed."""
EAGER, COMPILED, ORT = "PyTorch", "torch.compile", "ONNX Runtime"
OPENVINO, BF16, INT8 = "OpenVINO f32", "OpenVINO bf16", "OpenVINO int8"
AUTOGRAD = "MONAI autograd"
SLOW = (EAGER, COMPILED, AUTOGRAD)
"""Run in fewer rounds: no bar depends on their last percent."""

Array = npt.NDArray[np.float32]
Answer = tuple[Array, Array | None]
"""LOGITS [1, 2] and CAM [1, 2, d, h, w]; autograd gives one class's map, [1, 1, d, h, w]."""
Run = Callable[[Array], Answer]


@dataclass(frozen=True)
class Settings:
    """Measurements that one network is put through."""

    network: str
    size: int = 96
    width: float = 1.0
    rounds: int = 5
    slow_rounds: int = 2
    pair_rounds: int = 15
    """Rounds of ONNX Runtime, with Grad-CAM and without: their difference is smaller than the noise of a few."""
    threads: int = 1
    compile_limit_s: float = 150.0
    int8: bool = False

    def recipe(self) -> Recipe:
        """Three sequences on a cube; the network's own defaults but for its width."""
        options: dict[str, object] = {} if self.width == 1 else {"widen_factor": self.width}
        if self.network.startswith("vgg") and self.width != 1:
            options["hidden"] = max(32, int(4096 * self.width))
        return Recipe(
            schema=RECIPE_SCHEMA,
            name=self.network,
            architecture=Architecture(self.network, options),
            channels=CHANNELS,
            classes=CLASSES,
            grid=replace(Grid(), size_voxels=(self.size,) * 3),
        )


@dataclass
class Runtimes:
    """Return what can be run, by name and whether with Grad-CAM; and why the others cannot."""

    runs: dict[tuple[str, bool], Run] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds, ratios and drift of one network on every runtime, as JSON values."""
    torch.set_num_threads(settings.threads)
    recipe = settings.recipe()
    network = random_network(recipe)
    _say(settings, f"exporting, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters")
    model = export_onnx(network, recipe, "sha256:" + "00" * 32)
    probes = probe_studies(recipe)
    studies = [probes[INPUTS.index(name)][None] for name in STUDIES]
    runtimes = Runtimes()
    _add_torch(runtimes, network, recipe, studies[0], settings)
    _add_onnxruntime(runtimes, model, settings.threads)
    _add_openvino(runtimes, model, settings, probes)
    answers = {key: [run(study) for study in studies] for key, run in runtimes.runs.items()}  # and warm
    scales = [map_scale(network, study) for study in studies]
    seconds = _in_turn(runtimes, studies[0], settings)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.from_numpy(studies[0]))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "gflop": counter.get_total_flops() / 1e9,
        "onnx_mb": len(model) / 1e6,
        "seconds": {label(*key): [round(s, 5) for s in taken] for key, taken in seconds.items()},
        "drift": {label(*key): drift(answers[EAGER, True], found, scales) for key, found in answers.items()},
        "skipped": runtimes.skipped,
    }


def map_scale(network: torch.nn.Module, study: Array) -> float:
    """The largest value of a study's maps before their ReLU, which may leave next to nothing of a random network's."""
    net = cast(ClassifierNet, network)
    with torch.no_grad():
        a = net.features(torch.from_numpy(study))
        return float(evidence(a, logits_and_gradient(net, a)[1]).abs().max())


def drift(wanted: list[Answer], found: list[Answer], scales: list[float]) -> dict[str, float | None]:
    """Largest difference of a probability, and of a map's value relative to :func:`map_scale`; None without a map."""
    probability = max(
        float(np.abs(softmax(f[0], axis=1) - softmax(w[0], axis=1)).max()) for w, f in zip(wanted, found, strict=True)
    )
    maps = [(w[1], f[1]) for w, f in zip(wanted, found, strict=True)]
    if any(w is None or f is None or w.shape != f.shape for w, f in maps):
        return {"probability": probability, "cam": None}
    cam = max(float(np.abs(f - w).max()) / s for (w, f), s in zip(maps, scales, strict=True))  # type: ignore[operator]
    return {"probability": probability, "cam": cam}


def without_cam(model: bytes) -> bytes:
    """The classifier alone: the part of the graph that LOGITS depend on."""
    extracted = onnx.utils.Extractor(onnx.load_from_string(model)).extract_model([IMAGE.name], [LOGITS.name])
    content: bytes = extracted.SerializeToString()
    return content


def _add_torch(runtimes: Runtimes, network: torch.nn.Module, recipe: Recipe, image: Array, settings: Settings) -> None:
    served = ServedGraph(network, recipe, "sha256:" + "00" * 32).eval()
    modules = {True: served, False: network}
    for cam, module in modules.items():
        runtimes.runs[EAGER, cam] = _torch_run(module)
    if settings.compile_limit_s <= 0:
        runtimes.skipped[COMPILED] = "not asked for"
    for cam, module in modules.items():
        if COMPILED in runtimes.skipped:
            break
        _say(settings, f"torch.compile {'with' if cam else 'without'} Grad-CAM")
        try:
            with _time_limit(settings.compile_limit_s):
                compiled = torch.compile(module)
                _torch_run(compiled)(image)
        except Exception as error:  # noqa: BLE001 - a missing compiler and a time-out come wrapped in many ways
            late = "TimeoutError" in repr(error) or isinstance(error, TimeoutError)
            reason = f"over {settings.compile_limit_s:g} s" if late else f"{type(error).__name__}"
            runtimes.skipped[COMPILED] = reason
            runtimes.runs.pop((COMPILED, True), None)
            torch.compiler.reset()
        else:
            runtimes.runs[COMPILED, cam] = _torch_run(compiled)
    autograd = GradCAM(SplitNetwork(network).eval(), target_layers="last")

    def by_autograd(study: Array) -> Answer:
        found = autograd.compute_map(torch.from_numpy(study).requires_grad_(), class_idx=0)
        return np.zeros((1, 2), dtype=np.float32), found.detach().numpy()

    runtimes.runs[AUTOGRAD, True] = by_autograd


def _torch_run(module: Callable[..., Any]) -> Run:
    def run(image: Array) -> Answer:
        with torch.no_grad():
            found = module(torch.from_numpy(image))
        return (found[0].numpy(), found[1].numpy()) if isinstance(found, tuple) else (found.numpy(), None)

    return run


def _add_onnxruntime(runtimes: Runtimes, model: bytes, threads: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def prepared(graph: bytes, names: list[str]) -> Run:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        def run(image: Array) -> Answer:
            found = session.run(names, {IMAGE.name: image})
            return found[0], found[1] if len(found) > 1 else None

        return run

    runtimes.runs[ORT, True] = prepared(model, [LOGITS.name, CAM.name])
    runtimes.runs[ORT, False] = prepared(without_cam(model), [LOGITS.name])


def _add_openvino(runtimes: Runtimes, model: bytes, settings: Settings, probes: Array) -> None:
    try:
        import openvino
    except ModuleNotFoundError:
        runtimes.skipped |= dict.fromkeys((OPENVINO, BF16), "openvino is not installed")
        return
    core = openvino.Core()

    def prepared(graph: bytes, precision: str) -> Run:
        read = core.read_model(graph, b"")
        read.reshape({port.any_name: [1, *list(port.partial_shape)[1:]] for port in read.inputs})  # as it is served
        properties = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": settings.threads}
        compiled = core.compile_model(read, "CPU", {**properties, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"})
        with_map = any(port.any_name == CAM.name for port in compiled.outputs)

        def run(image: Array) -> Answer:
            found = compiled(image)
            return np.array(found[LOGITS.name]), np.array(found[CAM.name]) if with_map else None

        return run

    plans = [(OPENVINO, model, "f32")]
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        plans.append((BF16, model, "bf16"))
    else:
        runtimes.skipped[BF16] = "this CPU has neither AVX512-BF16 nor AMX"
    if settings.int8:
        _say(settings, "quantising")
        plans.append((INT8, quantised(model, probes[:4]), "f32"))
    for name, graph, precision in plans:
        runtimes.runs[name, True] = prepared(graph, precision)
        runtimes.runs[name, False] = prepared(without_cam(graph), precision)


def _in_turn(runtimes: Runtimes, image: Array, settings: Settings) -> dict[tuple[str, bool], list[float]]:
    """Seconds of every run. Round by round all take turns, and the two of a pair change places."""
    clock = time.process_time if settings.threads == 1 else time.perf_counter
    taken: dict[tuple[str, bool], list[float]] = {key: [] for key in runtimes.runs}
    wanted = dict.fromkeys(SLOW, settings.slow_rounds) | {ORT: settings.pair_rounds}
    for number in range(max(settings.rounds, settings.pair_rounds)):
        _say(settings, f"round {number + 1}")
        for key in sorted(taken, key=lambda key: (key[0], key[1] == bool(number % 2))):
            if number >= wanted.get(key[0], settings.rounds):
                continue
            started = clock()
            runtimes.runs[key](image)
            taken[key].append(clock() - started)
    return taken


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError in the main thread after that long."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def label(name: str, cam: bool) -> str:
    """Return a runtime's name in the results."""
    return f"{name}, {'with' if cam else 'without'} Grad-CAM"


def _say(settings: Settings, what: str) -> None:
    print(f"  {settings.network}: {what}", flush=True)
