"""Measure what the six networks cost on every CPU runtime, with Grad-CAM and without, and how far each strays.

The networks have their full width and random weights with random normalisation statistics; the label flips are
counted with the demo model on phantoms. With a CUDA device PyTorch is measured on it too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch

import classifier.gpu as classifier_gpu
import classifier.runtimes as cr
from bars import Bar, print_bars
from classifier.runtimes import Settings
from common import ROOT, print_table, write_result
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_export.variants.compare import Comparison, compare
from glioserve_export.variants.int8 import quantised
from glioserve_export.variants.runtimes import RuntimeAnswers, by_onnxruntime, by_openvino, has_bf16
from glioserve_networks.architectures.registry import OURS
from glioserve_networks.dataset import load_studies
from glioserve_preprocess.files import load_recipe
from glioserve_training.phantom_dataset import make_dataset

DEMO = ROOT / "examples" / "demo_model"
PHANTOMS = ROOT / "build" / "phantoms"
NETWORK_TIMEOUT_S = 1200.0
MAX_CAM_COST = 0.03
MIN_AUTOGRAD_RATIO = 2.5
MIN_BF16_RATIO = 1.8

Figures = Mapping[str, Any]


def seconds(figures: Figures, runtime: str, cam: bool) -> float:
    """Median of one runtime; NaN where it was not run."""
    taken = figures["seconds"].get(cr.label(runtime, cam), [])
    return statistics.median(taken) if taken else float("nan")


def cam_cost(figures: Figures, runtime: str) -> float:
    """Share that Grad-CAM adds to the classifier: the median over the rounds, in each of which the two ran in turn."""
    pairs = zip(
        figures["seconds"].get(cr.label(runtime, True), []),
        figures["seconds"].get(cr.label(runtime, False), []),
        strict=True,
    )
    ratios = [with_map / alone for with_map, alone in pairs]
    return statistics.median(ratios) - 1 if ratios else float("nan")


def bars_of(networks: Mapping[str, Figures], phantoms: Figures) -> list[Bar]:
    """The bars, each on the network that does worst; bf16's speed only where the processor has it."""

    def worst(figure: Callable[[Figures], float], pick: Callable[..., str]) -> tuple[float, str]:
        name = pick(networks, key=lambda name: figure(networks[name]))
        return figure(networks[name]), name

    cost, dearest = worst(lambda f: cam_cost(f, cr.ORT), max)
    autograd, closest = worst(lambda f: seconds(f, cr.AUTOGRAD, True) / seconds(f, cr.ORT, True), min)
    found = [
        Bar("Grad-CAM's cost over the classifier", cost, MAX_CAM_COST, "share", note=dearest),
        Bar("autograd Grad-CAM over ours", autograd, MIN_AUTOGRAD_RATIO, "times", at_least=True, note=closest),
    ]
    if all(cr.BF16 not in f["skipped"] for f in networks.values()):
        ratio, slowest = worst(lambda f: seconds(f, cr.ORT, True) / seconds(f, cr.BF16, True), min)
        found.append(
            Bar("ONNX Runtime over OpenVINO bf16", ratio, MIN_BF16_RATIO, "times", at_least=True, note=slowest)
        )
    flips = phantoms.get(cr.BF16, {}).get("label_flips", float("nan"))
    note = f"demo model, bf16 {phantoms.get('bf16', 'not run')}"
    found.append(Bar("label flips in bf16", flips, 0, f"of {phantoms.get('studies', 0)}", note=note))
    return found


def phantom_figures(count: int, with_int8: bool) -> dict[str, Any]:
    """The demo model on phantoms: every runtime's answers beside ONNX Runtime's; bf16 emulated where there is none."""
    recipe = load_recipe(DEMO / "recipe.json")
    folder = PHANTOMS / preprocessing_digest(recipe).removeprefix("sha256:")[:12]
    patients = (count + 1) // 2  # each has one study of each class
    if len(list(folder.glob("*.npz"))) < patients:
        folder = make_dataset(recipe, patients, PHANTOMS)
    images, _ = load_studies(folder, recipe, count)
    model = (DEMO / "model.onnx").read_bytes()
    wanted = by_onnxruntime(model, images, 1, _nothing)
    found: dict[str, RuntimeAnswers] = {
        cr.OPENVINO: by_openvino(model, images, "f32", 1, _nothing),
        cr.BF16: by_openvino(model, images, "bf16", 1, _nothing),
    }
    if with_int8:
        found[cr.INT8] = by_openvino(quantised(model, images[: count // 2]), images, "f32", 1, _nothing)
    compared: dict[str, Comparison] = {
        name: compare(recipe, wanted.logits, wanted.cam, a.logits, a.cam) for name, a in found.items()
    }
    print_table(
        f"The demo model on {len(images)} phantoms, beside ONNX Runtime",
        ["", "SCORE drift", "label flips", "heat maps, worst", "median", "same peak"],
        [
            [n, c.max_probability_drift, c.label_flips, c.min_heatmap_correlation, c.median_heatmap_correlation,
             c.same_peak] for n, c in compared.items()
        ],
    )  # fmt: skip
    bf16 = "the processor's" if has_bf16() else "emulated"
    print(f"bf16: {bf16}")
    return {
        "studies": len(images),
        "bf16": bf16,
        **{name: comparison.record() for name, comparison in compared.items()},
    }


def print_networks(networks: Mapping[str, Figures]) -> None:
    """Ratios to ONNX Runtime, the cost of Grad-CAM, drift; and what was not run, with the reason."""
    others = [n for n in (cr.EAGER, cr.COMPILED, cr.OPENVINO, cr.BF16, cr.INT8) if _run_somewhere(networks, n)]
    for cam in (True, False):
        columns = [*others, *([cr.AUTOGRAD] if cam else [])]
        print_table(
            f"Times as fast as ONNX Runtime, {'with' if cam else 'without'} Grad-CAM",
            ["", f"{cr.ORT} s", *columns],
            [
                [name, seconds(f, cr.ORT, cam), *(seconds(f, cr.ORT, cam) / seconds(f, c, cam) for c in columns)]
                for name, f in networks.items()
            ],
        )
    both = [cr.ORT, *others]
    print_table(
        "What Grad-CAM adds to the classifier, %",
        ["", *both, "autograd over ours"],
        [
            [name, *(100 * cam_cost(f, c) for c in both), seconds(f, cr.AUTOGRAD, True) / seconds(f, cr.ORT, True)]
            for name, f in networks.items()
        ],
    )
    print_table(
        "Drift from PyTorch: of a probability, and of the map relative to its largest value before the ReLU",
        ["", *both],
        [[name, *(_drift(f, c) for c in both)] for name, f in networks.items()],
    )
    for name, figures in networks.items():
        for runtime, reason in figures["skipped"].items():
            print(f"{name}: {runtime} was not run: {reason}")


def print_gpu(rows: Mapping[str, Figures]) -> None:
    """One line per network, precision and batch."""
    lines = [
        [
            f"{name}, {what}",
            r["ms_per_study"],
            r["tflops"],
            r["share_of_peak"] or float("nan"),
            r["probability"],
            r["cam"],
        ]
        for name, figures in rows.items()
        for what, r in figures["rows"].items()
    ]
    device = next(iter(rows.values()))["device"]
    columns = ["", "ms a study", "TFLOP/s", "share of peak", "drift, probability", "drift, map"]
    print_table(f"PyTorch on {device}, with Grad-CAM", columns, lines)


def in_own_process(job: Callable[[Settings], dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """The job's result; its process, and so its memory, is gone afterwards. TimeoutError in the end."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            result: dict[str, Any] = pool.apply_async(job, (settings,)).get(NETWORK_TIMEOUT_S)
        except multiprocessing.TimeoutError as error:
            raise TimeoutError(f"{settings.network} took over {NETWORK_TIMEOUT_S:g} s") from error
        pool.close()
        pool.join()  # it ends by itself, and so tidies up
        return result


def main() -> int:
    """Measure, print, judge; write the results of a whole run. 1 where a bar is missed."""
    args = _arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # of the processes that measure
    jobs = {
        name: Settings(
            network=name,
            size=args.size,
            width=args.width,
            rounds=args.rounds,
            slow_rounds=min(2, args.rounds),
            pair_rounds=3 * args.rounds,
            threads=args.threads,
            compile_limit_s=args.compile_limit_s,
            int8=args.int8,
        )
        for name in args.networks
    }
    print("measuring; every network in a process of its own", flush=True)
    networks = {name: in_own_process(cr.measure, settings) for name, settings in jobs.items()}
    print_networks(networks)
    phantoms = phantom_figures(args.phantoms, args.int8) if args.phantoms else {}
    gpu: dict[str, Any] = {}
    if torch.cuda.is_available():
        gpu = {name: in_own_process(classifier_gpu.measure_gpu, settings) for name, settings in jobs.items()}
        print_gpu(gpu)
    else:
        print("\nPyTorch on a GPU was not run: no CUDA device")
    found = bars_of(networks, phantoms)
    print_bars(found)
    if not has_bf16():
        print("no bar on bf16's speed: this CPU has neither AVX512-BF16 nor AMX")
    if (args.size, args.width, set(args.networks)) == (96, 1.0, set(OURS)):
        figures = {"networks": networks, "phantoms": phantoms, "gpu": gpu, "bars": [bar.record() for bar in found]}
        packages = ("torch", "monai", "onnx", "onnxruntime", "openvino")
        write_result("classifier", vars(args), figures, packages)
    else:
        print("\nnot written: only the six networks at full size are kept")
    return int(not all(bar.passed for bar in found))


def _run_somewhere(networks: Mapping[str, Figures], runtime: str) -> bool:
    return any(cr.label(runtime, True) in f["seconds"] for f in networks.values())


def _drift(figures: Figures, runtime: str) -> str:
    found = figures["drift"].get(cr.label(runtime, True))
    return "–" if found is None else f"{found['probability']:.0e} {found['cam']:.0e}"


def _nothing(_: str) -> None:
    pass


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--networks", nargs="+", choices=list(OURS), default=list(OURS), metavar="NAME")
    add("--size", type=int, default=96, help="voxels along each axis")
    add("--width", type=float, default=1.0, help="widen_factor")
    add("--rounds", type=int, default=5, help="of OpenVINO; ONNX Runtime takes three times as many, the others two")
    add("--threads", type=int, default=1)
    add("--compile-limit-s", type=float, default=150.0, help="for each torch.compile; 0 leaves it out")
    add("--int8", action="store_true", help="OpenVINO on 8-bit integers too")
    add("--phantoms", type=int, default=200, help="studies for the label flips; 0 for none")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
