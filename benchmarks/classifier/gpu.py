"""One network by PyTorch on a CUDA device in fp32, fp16 and bf16, and the share of the hardware's peak it reaches."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from classifier.runtimes import STUDIES, Settings, drift, map_scale
from common import ROOT
from glioserve_export.graphs.graph import ServedGraph
from glioserve_export.graphs.probes import INPUTS, probe_studies

sys.path.insert(0, str(ROOT / "tests"))
from support.models.networks import random_network

PEAK_TFLOPS: dict[str, tuple[float, float]] = {
    "H200": (67.0, 989.4),
    "H100 PCIe": (51.2, 756.4),
    "H100": (66.9, 989.4),
    "A100": (19.5, 311.9),
    "L40S": (91.6, 362.1),
    "L4": (30.3, 121.0),
    "A10": (31.2, 125.0),
    "T4": (8.1, 65.1),
    "V100": (15.7, 125.0),
}
"""Part of the device's name to its peak in fp32 (no TF32) and in dense fp16 or bf16 on tensor cores, from NVIDIA's data
sheets (those that state figures with sparsity: half of them). The first that fits counts, so the longer stand first."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BATCHES = (1, 8)
REPEATS = 10


def peak_tflops(device: str, dtype: str) -> float | None:
    """Return the figure of a device by its name as torch gives it; None where the table lacks it."""
    peaks = next((peaks for name, peaks in PEAK_TFLOPS.items() if name in device), None)
    return None if peaks is None else peaks[dtype != "fp32"]


def measure_gpu(settings: Settings) -> dict[str, Any]:
    """Milliseconds per study, TFLOP/s, share of the peak and drift from fp32 on the CPU, per precision and batch."""
    recipe = settings.recipe()
    network = random_network(recipe)
    probes = probe_studies(recipe)
    studies = [probes[INPUTS.index(name)][None] for name in STUDIES]
    served = ServedGraph(network, recipe, "sha256:" + "00" * 32).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        wanted = [(logits.numpy(), cam.numpy()) for logits, cam, _ in (served(torch.from_numpy(s)) for s in studies)]
    scales = [map_scale(network, study) for study in studies]
    flop = counter.get_total_flops() / len(studies)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.cuda.get_device_name()
    rows = {}
    for name, dtype in DTYPES.items():
        if dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
            continue
        on_device = ServedGraph(random_network(recipe), recipe, "sha256:" + "00" * 32).eval().to("cuda", dtype)
        with torch.no_grad():
            found = [on_device(torch.from_numpy(s).to("cuda", dtype)) for s in studies]
        answers = [(logits.float().cpu().numpy(), cam.float().cpu().numpy()) for logits, cam, _ in found]
        strayed = drift(wanted, answers, scales)
        for batch in BATCHES:
            image = torch.from_numpy(studies[0]).to("cuda", dtype).expand(batch, -1, -1, -1, -1).contiguous()
            seconds = _seconds(on_device, image)
            tflops, peak = flop * batch / seconds / 1e12, peak_tflops(device, name)
            rows[f"{name}, batch {batch}"] = {
                "ms_per_study": 1e3 * seconds / batch,
                "tflops": tflops,
                "share_of_peak": None if peak is None else tflops / peak,
                **strayed,
            }
    return {"device": device, "rows": rows}


def _seconds(module: torch.nn.Module, image: torch.Tensor) -> float:
    """Median of :data:`REPEATS`, by the device's own clock, after as many that are not counted."""
    taken: list[float] = []
    with torch.no_grad():
        for repeat in range(2 * REPEATS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            module(image)
            end.record()
            torch.cuda.synchronize()
            if repeat >= REPEATS:
                taken.append(begin.elapsed_time(end) / 1e3)
    return sorted(taken)[len(taken) // 2]
