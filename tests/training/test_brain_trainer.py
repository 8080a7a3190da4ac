"""Training of the brain network on a handful of steps, resumed, and its package."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.brain_model import (
    DEFAULT_BRAIN_MODEL,
    brain_model_digest,
    parse_brain_model_card,
    sidecar_name,
)
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_preprocess.brain.model import load_brain_model
from glioserve_training.brain.bank import load_head, make_bank
from glioserve_training.brain.package import write_package
from glioserve_training.brain.trainer import BrainProgress, BrainSettings, distance_loss, train_brain
from glioserve_training.brain.unet import BrainNet

QUICK = BrainSettings(steps=4, batch=1, validation_scans=1, validate_every=2)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return make_bank(tmp_path_factory.mktemp("heads"), 700, 2, 1)


@pytest.mark.long
def test_the_bank_keeps_what_it_made(heads):
    made = [file.stat().st_mtime_ns for file in heads]
    assert make_bank(heads[0].parent, 700, 2, 1) == heads
    assert [file.stat().st_mtime_ns for file in heads] == made
    assert load_head(heads[0]).labels.dtype == np.uint8


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_where_it_was(heads, tmp_path):
    """Two steps, a stop, two more: the same weights as four in one go."""
    torch.set_num_threads(1)
    whole, reached = train_brain(heads[:1], heads[1:], QUICK, tmp_path / "whole.pt")
    assert reached.step == 4

    class CutOffError(Exception):
        pass

    def cut_off(progress: BrainProgress) -> None:
        # The state of step 2 is on disk by the time that step 4 reports.
        if progress.step == 4:
            raise CutOffError

    with pytest.raises(CutOffError):
        train_brain(heads[:1], heads[1:], QUICK, tmp_path / "parts.pt", on_progress=cut_off)
    steps = []
    parts, _ = train_brain(
        heads[:1], heads[1:], QUICK, tmp_path / "parts.pt", on_progress=lambda p: steps.append(p.step)
    )
    assert steps == [4]
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    done, reached = train_brain(heads[:1], heads[1:], QUICK, tmp_path / "parts.pt")
    assert reached.step == 4
    assert all(torch.equal(a, b) for a, b in zip(done.parameters(), parts.parameters(), strict=True))


@pytest.mark.long
def test_another_runs_checkpoint_is_refused(heads, tmp_path):
    train_brain(heads[:1], heads[1:], replace(QUICK, steps=2), tmp_path / "a.pt")
    with pytest.raises(GlioserveError) as caught:
        train_brain(heads[:1], heads[1:], replace(QUICK, steps=2, seed=1), tmp_path / "a.pt")
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT


def test_the_loss_is_least_at_the_truth():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn((1, 1, 16, 16, 16), generator=generator) * 6
    seen = torch.ones_like(true, dtype=torch.bool)
    losses = [float(distance_loss(true + error, true, seen, BrainSettings())) for error in (0.0, 1.0, 3.0)]
    assert losses[0] < losses[1] < losses[2]
    outside = true.clone()
    outside[..., :8] += 20
    seen[..., :8] = False
    inside_only = float(distance_loss(outside, true, seen, BrainSettings()))
    assert inside_only == pytest.approx(float(distance_loss(true, true, seen, BrainSettings())))


def test_distances_beyond_the_clip_are_no_error():
    true = torch.full((1, 1, 8, 8, 8), 12.0)
    seen = torch.ones_like(true, dtype=torch.bool)
    far, near = (float(distance_loss(torch.full_like(true, d), true, seen, BrainSettings())) for d in (40.0, 5.0))
    assert far < near


@pytest.mark.slow
def test_the_package_is_a_brain_model_that_serving_takes(tmp_path):
    torch.manual_seed(0)
    net = BrainNet().eval()
    digest = write_package(net, QUICK, 3, BrainProgress(4, median_dice=0.9, least_dice=0.8), tmp_path)
    graph, sidecar = ((tmp_path / n).read_bytes() for n in (DEFAULT_BRAIN_MODEL, sidecar_name(DEFAULT_BRAIN_MODEL)))
    assert digest == brain_model_digest(graph, sidecar)
    assert len(graph) < 5_000_000
    card = parse_brain_model_card(sidecar)
    assert "3 synthetic heads" in card.source
    text = (tmp_path / DEFAULT_BRAIN_MODEL).with_suffix(".md").read_text()
    assert digest in text
    assert "| seed | 0 |" in text
    model = load_brain_model(BrainExtraction("network", DEFAULT_BRAIN_MODEL, digest), tmp_path)
    assert model is not None
    image = np.random.default_rng(0).random((1, 1, 48, 64, 80), dtype=np.float32)
    with torch.no_grad():
        wanted = net(torch.from_numpy(image)).numpy()
    assert np.allclose(model.run(image), wanted, atol=1e-3)


@pytest.mark.long
def test_no_path_of_the_machine_is_in_the_graph(tmp_path):
    write_package(BrainNet().eval(), QUICK, 3, BrainProgress(4, median_dice=0.9, least_dice=0.8), tmp_path)
    text = str(onnx.load(tmp_path / DEFAULT_BRAIN_MODEL, load_external_data=False).graph.node)
    assert "site-packages" not in text
    assert ".py" not in text


@pytest.mark.slow
def test_the_command_makes_heads_trains_and_writes(tmp_path, capsys):
    command = ["train-brain", "--out", str(tmp_path / "out"), "--heads", "2", "--steps", "1", "--workers", "2"]
    command += ["--cache", str(tmp_path / "heads"), "--checkpoint", str(tmp_path / "c.pt")]
    from glioserve_cli.training import train_brain as brain_command

    brain_command.HELD_OUT, held_out = 1, brain_command.HELD_OUT
    try:
        assert main(command) == 0
    finally:
        brain_command.HELD_OUT = held_out
    assert "sha256:" in capsys.readouterr().out
    card = json.loads((tmp_path / "out" / sidecar_name(DEFAULT_BRAIN_MODEL)).read_text())
    assert card["output_kind"] == "signed_distance_mm"
