"""Physics of the synthetic scans that the opinion's network is trained on, their drawing, training and packaging."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.sequences import PixelKind
from glioserve_phantom import signal
from glioserve_phantom.signal import Tissues
from glioserve_preprocess.opinion.coarse import GRID_SHAPE, coarse_head
from glioserve_preprocess.opinion.model import OPINION_MODEL, load_opinion_model
from glioserve_training.brain.bank import load_head, make_bank
from glioserve_training.brain.head import HeadTissue
from glioserve_training.weighting.anatomy import ARTERY, CHOROID, LABELS, PITUITARY, prepared
from glioserve_training.weighting.calibration import Calibration, calibrated, shares_of
from glioserve_training.weighting.net import KindNet
from glioserve_training.weighting.package import weights_of, write_package
from glioserve_training.weighting.protocols import T1Technique, t1_look
from glioserve_training.weighting.scene import draw_look, draw_scene, scan_look
from glioserve_training.weighting.tissue import draw_concentrations, draw_tissues, with_agent
from glioserve_training.weighting.trainer import KindProgress, KindSettings, draw_batch, train_kinds

QUICK = KindSettings(steps=2, batch=4, validation_scenes=1, validate_every=1, calibration_scenes=1)
ONE = Tissues(*(np.array([v]) for v in (1000.0, 100.0, 50.0, 0.8, 1e-3)), field_tesla=1.5)


def by_steps(t, tr, ti, te, flip, spacing, pulses, cycles=30):
    """The magnetisation of an MPRAGE followed pulse by pulse until it repeats."""
    t1, cosine = t.t1_ms[0], np.cos(np.deg2rad(flip))

    def relaxed(m, ms):
        return 1 + (m - 1) * np.exp(-ms / t1)

    m = 1.0
    for _ in range(cycles):
        m = relaxed(-m, ti - pulses / 2 * spacing)
        for pulse in range(pulses):
            if pulse == pulses // 2:
                middle = m
            m = relaxed(m * cosine, spacing)
        m = relaxed(m, tr - ti - pulses / 2 * spacing)
    return t.density[0] * abs(middle) * np.sin(np.deg2rad(flip)) * np.exp(-te / t.t2_star_ms[0])


def test_signals_are_the_textbooks():
    e = np.exp
    assert signal.spin_echo(ONE, 500, 20)[0] == pytest.approx(0.8 * (1 - e(-0.5)) * e(-0.2))
    found = signal.inversion_recovery(ONE, 8000, 100, 2000)[0]
    assert found == pytest.approx(0.8 * (1 - 2 * e(-2) + e(-8)) * e(-1))
    sine, cosine = np.sin(np.pi / 6), np.cos(np.pi / 6)
    wanted = 0.8 * sine * (1 - e(-0.02)) / (1 - cosine * e(-0.02)) * e(-0.1)
    assert signal.spoiled_gradient_echo(ONE, 20, 5, 30)[0] == pytest.approx(wanted)
    assert signal.diffusion_weighted(ONE, 5000, 100, 1000)[0] == pytest.approx(0.8 * (1 - e(-5)) * e(-1) * e(-1))
    assert signal.fresh_gradient_echo(ONE, 5, 30)[0] == pytest.approx(0.8 * 0.5 * e(-0.1))


def test_the_ernst_angle_gives_most():
    flips = np.arange(1.0, 90.0, 0.5)
    best = flips[np.argmax([signal.spoiled_gradient_echo(ONE, 20, 5, f)[0] for f in flips])]
    assert best == pytest.approx(np.rad2deg(np.arccos(np.exp(-0.02))), abs=0.5)


def test_the_nulling_inversion_nulls():
    ti = signal.nulling_inversion_ms(1000, 6000)
    assert signal.inversion_recovery(ONE, 6000, 100, ti)[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "settings", [(2300, 900, 3, 9, 7.1, 160), (1600, 800, 2, 8, 8.0, 128), (2500, 1100, 3, 12, 6, 120)]
)
def test_mprage_is_the_steady_state_of_its_pulses(settings):
    for t1 in (260.0, 900.0, 4200.0):
        tissue = replace(ONE, t1_ms=np.array([t1]))
        assert signal.magnetisation_prepared(tissue, *settings)[0] == pytest.approx(
            by_steps(tissue, *settings), rel=1e-6
        )


def test_a_balanced_echo_tends_to_t2_over_t1():
    """The limit for TR much below T1 and T2 is sin a / (1 + cos a + (1 - cos a) T1 / T2)."""
    flip = np.deg2rad(50)
    wanted = 0.8 * np.sin(flip) / (1 + np.cos(flip) + (1 - np.cos(flip)) * 10)
    assert signal.balanced_gradient_echo(ONE, 0.05, 50)[0] == pytest.approx(wanted, rel=2e-3)


def test_an_agent_shortens_by_its_relaxivity():
    after = with_agent(ONE, np.array([1.0]))
    assert 1000 / after.t1_ms[0] == pytest.approx(1.0 + 4.3)
    assert 1000 / after.t2_ms[0] == pytest.approx(10.0 + 5.3)


def test_tissues_order_as_they_do_in_a_magnet():
    for seed in range(20):
        t = draw_tissues(np.random.default_rng(seed))
        assert len(t.t1_ms) == LABELS
        fat, white, grey, fluid = (
            t.t1_ms[i] for i in (HeadTissue.FAT, HeadTissue.WHITE, HeadTissue.GREY, HeadTissue.CSF)
        )
        assert fat < white < grey < fluid
        assert (t.t2_star_ms <= t.t2_ms).all()


def test_an_agent_brightens_veins_mucosa_plexus_and_spares_the_brain():
    technique = T1Technique("spin echo", 500, 12)
    gains = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        t, agent = draw_tissues(rng), draw_concentrations(rng)
        before, after = (signal.spin_echo(x, technique.tr_ms, technique.te_ms) for x in (t, with_agent(t, agent)))
        gains.append(after / np.maximum(before, 1e-9))
    gain = np.median(gains, axis=0)
    assert (gain[[HeadTissue.VESSEL, HeadTissue.MUCOSA, CHOROID, PITUITARY, ARTERY]] > 1.3).all()
    assert gain[[HeadTissue.WHITE, HeadTissue.CSF, HeadTissue.FAT]] == pytest.approx(1.0, abs=0.08)


def test_native_blood_may_be_as_bright_as_after_an_agent():
    """Some arteries outshine white matter in 3D gradient echoes of native heads; in spin echoes they are dark."""
    bright = {"gradient echo": 0, "spin echo": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        t = draw_tissues(rng)
        for technique in (T1Technique("gradient echo", 10, 3, 18), T1Technique("spin echo", 500, 12)):
            means = technique.means(t, rng, enhanced=False)
            bright[technique.name] += means[ARTERY] > 1.3 * means[HeadTissue.WHITE]
    assert bright["gradient echo"] > 20
    assert bright["spin echo"] == 0


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return make_bank(tmp_path_factory.mktemp("heads"), 700, 2, 1)


@pytest.fixture(scope="module")
def scene(heads):
    return draw_scene(load_head(heads[0]), np.random.default_rng(3))


@pytest.mark.long
def test_heads_get_what_an_agent_shows(heads):
    seen = set()
    for seed in range(4):
        seen |= set(np.unique(prepared(load_head(heads[0]), np.random.default_rng(seed))))
    assert {ARTERY, CHOROID, PITUITARY} <= seen


@pytest.mark.long
@pytest.mark.parametrize("kind", PixelKind)
def test_every_kind_is_scanned_into_what_the_network_takes(scene, kind):
    for seed in range(3):
        one, two = (np.random.default_rng(seed) for _ in range(2))
        volume, again = (scan_look(scene, draw_look(scene, kind, rng), rng) for rng in (one, two))
        assert np.array_equal(volume.voxels, again.voxels)
        assert volume.voxels.shape == volume.geometry.shape
        assert np.isfinite(volume.voxels).all()
        image = coarse_head(volume)
        if image is not None:
            assert image.shape == (2, *GRID_SHAPE)


@pytest.mark.long
def test_an_agent_is_what_tells_t1ce_from_t1(scene):
    """The same technique before and after: the scan differs in bright places, not in the brain as a whole."""
    technique = T1Technique("spin echo", 500, 12)
    before, after = (
        t1_look(np.random.default_rng(1), scene.tissues, scene.agent_mm, technique, enhanced).means
        for enhanced in (False, True)
    )
    assert after[HeadTissue.MUCOSA] > 1.2 * before[HeadTissue.MUCOSA]
    assert after[HeadTissue.WHITE] == pytest.approx(before[HeadTissue.WHITE], rel=0.1)


def test_thresholds_let_few_wrong_ones_pass():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, len(PixelKind), 4000)
    logits = rng.normal(0, 1.5, (4000, len(PixelKind))).astype(np.float32)
    logits[np.arange(4000), kinds] += 4
    found = calibrated(logits, kinds)
    assert found.wrong <= 0.005
    assert 0.2 < found.answered < 1
    shares = shares_of(logits, found.temperature)
    sure = shares.max(axis=1) > 0.7
    right = shares.argmax(axis=1)[sure] == kinds[sure]
    assert right.mean() == pytest.approx(shares.max(axis=1)[sure].mean(), abs=0.03)


@pytest.mark.long
def test_a_run_that_was_cut_off_goes_on_where_it_was(heads, tmp_path):
    torch.set_num_threads(1)
    whole, reached = train_kinds(heads[:1], heads[1:], QUICK, tmp_path / "whole.pt")
    assert reached.step == 2

    class CutOffError(Exception):
        pass

    def cut_off(progress):
        if progress.step == 2:  # the state of step 1 is on disk
            raise CutOffError

    with pytest.raises(CutOffError):
        train_kinds(heads[:1], heads[1:], QUICK, tmp_path / "parts.pt", on_progress=cut_off)
    steps = []
    parts, _ = train_kinds(
        heads[:1], heads[1:], QUICK, tmp_path / "parts.pt", on_progress=lambda p: steps.append(p.step)
    )
    assert steps == [2]
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    with pytest.raises(GlioserveError) as caught:
        train_kinds(heads[:1], heads[1:], replace(QUICK, seed=1), tmp_path / "whole.pt")
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT
    still = replace(QUICK, steps=1, learning_rate=0.0)
    begun, _ = train_kinds(heads[:1], heads[1:], still, tmp_path / "on.pt", start=whole.state_dict())
    for one, other in zip(whole.parameters(), begun.parameters(), strict=True):
        assert torch.allclose(one, other)


@pytest.mark.long
def test_a_batch_has_both_t1_and_depends_on_its_seed_alone(heads):
    one, two = (draw_batch(heads[0], np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.images, two.images)
    assert set(one.kinds.tolist()) >= {0, 1}


@pytest.mark.long
def test_the_package_is_what_serving_takes(tmp_path):
    torch.manual_seed(0)
    net = KindNet().eval()
    for weight in net.parameters():  # those of the normalisations are all 1 and 0 at first
        torch.nn.init.normal_(weight, 0, 0.1)
    calibration = Calibration(1.2, (0.8,) * len(PixelKind), 0.9, 0.004)
    digest = write_package(net, QUICK, 3, KindProgress(2, right=0.9, t1_right=0.8), calibration, tmp_path)
    graph = tmp_path / OPINION_MODEL.name
    assert graph.stat().st_size <= 2_000_000
    assert digest in graph.with_suffix(".md").read_text()
    text = str(onnx.load(graph).graph.node)
    assert "site-packages" not in text
    model = load_opinion_model(graph, digest)
    image = np.random.default_rng(0).random((2, *GRID_SHAPE), dtype=np.float32)
    with torch.no_grad():
        seen = torch.from_numpy(image[None])
        wanted = shares_of(((net(seen) + net(seen.flip(-1))) / 2).numpy(), 1.2)[0]
    assert list(model.shares(image).values()) == pytest.approx(wanted.tolist(), abs=1e-4)
    assert sum(model.shares(image).values()) == pytest.approx(1)
    start = weights_of(graph.read_bytes())
    assert all(torch.equal(start[name], value) for name, value in net.state_dict().items())
