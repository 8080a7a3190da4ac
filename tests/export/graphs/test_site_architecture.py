"""A site's own network, brought by an entry point, exported in each of the three ways to a map, or to none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Architecture
from glioserve_export.exporter import export_model
from glioserve_networks import Artifact
from glioserve_registry.publishing.publication import checked_export
from support.models.networks import tiny_artifact
from support.models.recipes import tiny_recipe
from support.models.site_package import NETWORKS, install

TAIL = """
class Tailed(Attending):
    def __init__(self, in_channels, out_classes):
        super().__init__(in_channels, out_classes)
        self.norm = nn.LayerNorm(4)

    def tail(self, a):
        voxels = a.flatten(2)
        return self.fc({pooled})
"""


@pytest.mark.parametrize(
    ("name", "method", "grid"),
    [
        ("site_pooled", "closed_form", (4, 4, 4)),
        ("site_attending", "traced", (4, 4, 4)),
        ("site_plain", "none", (1, 1, 1)),
    ],
)
def test_a_sites_network_is_exported(
    name: str, method: str, grid: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch)
    artifact = tiny_artifact(tmp_path / "artifact", tiny_recipe(architecture=Architecture(name, {"width": 5})))
    exported = export_model(artifact, tmp_path / "model", progress=lambda _: None)
    manifest = checked_export(tmp_path / "model")
    assert (exported.cam_method, manifest.cam_method, manifest.cam_grid) == (method, method, grid)
    assert manifest.recipe.architecture == Architecture(name, {"width": 5})
    assert (manifest.cam_start_voxels, manifest.cam_step_voxels) == ((0.0, 1.0) if method == "none" else (0.0, 4.0))
    assert [f.output for f in exported.parity.figures] == ["LOGITS", "CAM", *["CAM (MONAI)"] * (method != "none")]
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx", providers=["CPUExecutionProvider"])
    study = np.random.default_rng(0).random((2, 3, 16, 16, 16), dtype=np.float32)
    logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": study})
    assert logits.shape == (2, 2)
    assert cam.shape == (2, 2, *grid)
    assert (cam.max() > 0) == (method != "none")


def test_a_gradient_that_onnx_lacks_is_told_and_the_network_is_served_without_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch)
    recipe = tiny_recipe(architecture=Architecture("site_convolving"))
    with pytest.raises(GlioserveError, match=r"convolution_backward.*recipe\.heatmap none") as caught:
        export_model(tiny_artifact(tmp_path / "artifact", recipe), tmp_path / "model", progress=lambda _: None)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ARCHITECTURE
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()
    without = tiny_artifact(tmp_path / "artifact", replace(recipe, heatmap="none"))
    export_model(without, tmp_path / "model", progress=lambda _: None)
    assert checked_export(tmp_path / "model").cam_method == "none"


def tailed(pooled: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """An artifact of a site's network whose tail takes ``a`` [N, 4, d, h, w] to [N, 4] by this expression."""
    code = f"{NETWORKS}\n{TAIL.format(pooled=pooled)}"
    install(folder / "site", monkeypatch, {"site_tailed": "site_networks:Tailed"}, code=code)
    return tiny_artifact(folder / "artifact", tiny_recipe(architecture=Architecture("site_tailed")))


@pytest.mark.parametrize(
    "pooled",
    [
        "self.norm(voxels.mean(2))",
        "voxels.amax(2)",
        "nn.functional.scaled_dot_product_attention(*(voxels.transpose(1, 2),) * 3).mean(1)",
    ],
)
def test_what_a_tail_may_hold(pooled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = export_model(tailed(pooled, tmp_path, monkeypatch), tmp_path / "model", progress=lambda _: None)
    assert exported.cam_method == "traced"
    assert {f.output for f in exported.parity.figures} == {"LOGITS", "CAM", "CAM (MONAI)"}


@pytest.mark.parametrize(
    ("pooled", "code", "told"),
    [
        ("nn.functional.max_pool3d(a, 4).flatten(1)", ErrorCode.UNSUPPORTED_ARCHITECTURE, "max_pool3d.*_backward"),
        ("nn.functional.avg_pool3d(a, 4).flatten(1)", ErrorCode.UNSUPPORTED_ARCHITECTURE, "avg_pool3d_backward"),
        # Its gradients sum to 0 over a channel, so that the map would be nothing but rounding.
        ("voxels.std(2)", ErrorCode.PARITY_FAILED, "CAM .*at most 1e-04"),
    ],
)
def test_what_a_tail_may_not_hold(
    pooled: str, code: ErrorCode, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GlioserveError, match=told) as caught:
        export_model(tailed(pooled, tmp_path, monkeypatch), tmp_path / "model", progress=lambda _: None)
    assert caught.value.code is code
    assert not (tmp_path / "model").exists()
