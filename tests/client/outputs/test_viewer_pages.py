"""The page in a real browser without WebGL or network: what it shows, and what it does under the hand."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from glioserve_client import Modality
from glioserve_client.outputs.anatomy import reference_anatomy
from glioserve_client.outputs.page import draw_page
from glioserve_client.outputs.viewer import make_viewer
from glioserve_contract.records.preprocess import PixelOpinionRecord, Quality, QualityCheck, RunnerUpRecord
from glioserve_contract.sequences import PixelKind
from support.chromium import Tab, chromium
from support.results.viewers import case
from support.studies.heads import LESION_LPS_MM, MARKER_LPS_MM, ORIENTATIONS

PLANES = ("axial", "coronal", "sagittal")
QUICK = ("axial", "oblique sagittal", "coronal, from behind")
LONG_WORD = "W" * 300


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser.tab()


@pytest.fixture(autouse=True)
def _no_problem(tab: Tab) -> Iterator[None]:
    """No test leaves an exception, a warning or a refusal on the console, or a request to anything but the page."""
    tab.problems.clear()
    tab.requests.clear()
    yield
    assert tab.problems == []
    assert [r for r in tab.requests if not r.startswith(("file:///", "data:image/jpeg"))] == []


@cache
def page_of(orientation: str = "axial", hot: str = "marker") -> str:
    prediction, study = case(orientation, hot_lps_mm=MARKER_LPS_MM if hot == "marker" else LESION_LPS_MM)
    return draw_page(prediction, b"jpeg", make_viewer(prediction, study, reference_anatomy(study, prediction)))


def show(tab: Tab, folder: Path, text: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    tab.open(path, width, height, dark)


def readout(tab: Tab) -> np.ndarray:
    """The cross-hair's place in LPS mm, by the words under the pictures."""
    words = tab.run("document.getElementById('readout').textContent")
    found = re.search(r"at ([RL]) (\d+), ([AP]) (\d+), ([FH]) (\d+) mm", words)
    assert found, words
    letters, values = found.groups()[::2], found.groups()[1::2]
    return np.array([float(v) * (1 if letter in "LPH" else -1) for letter, v in zip(letters, values, strict=True)])


def set_input(tab: Tab, identifier: str, value: str) -> None:
    """Move a slider as a hand does; ``value`` is an expression of ``it``, the element."""
    tab.run(
        f"window.it = document.getElementById('{identifier}'); it.value = {value}; it.dispatchEvent(new Event('input'))"
    )
    tab.settle()


def pixels(tab: Tab, plane: str) -> np.ndarray:
    """Return what a plane's canvas shows: RGB [row, column]."""
    script = f"""(() => {{
      const c = document.querySelector('figure[data-plane={plane}] canvas');
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      return [c.width, c.height, btoa(Array.from(d, (v) => String.fromCharCode(v)).join(''))];
    }})()"""
    width, height, text = tab.run(script)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].astype(int)


def middle(shown: np.ndarray) -> np.ndarray:
    """The (x, y) of the middle of what is True."""
    assert shown.any()
    return np.argwhere(shown)[:, ::-1].mean(axis=0) + 0.5


def corner(tab: Tab, plane: str) -> np.ndarray:
    """Return where a plane's canvas begins in the window, scrolled into view."""
    return np.array(
        tab.run(f"""(() => {{ const c = document.querySelector('figure[data-plane={plane}] canvas');
      c.scrollIntoView({{block: 'center'}}); const r = c.getBoundingClientRect(); return [r.left, r.top]; }})()"""),
        dtype=np.float64,
    )


def press(tab: Tab, plane: str, *keys: str) -> None:
    tab.run(f"document.querySelector('figure[data-plane={plane}] canvas').focus()")
    for key in keys:
        tab.key(key)


@pytest.mark.parametrize(
    "orientation", [pytest.param(o, marks=[] if o in QUICK else pytest.mark.slow) for o in ORIENTATIONS]
)
def test_left_is_left_in_every_plane_and_sequence(tab: Tab, tmp_path: Path, orientation: str) -> None:
    """The marker (left, anterior, superior) is where a radiologist looks for it, and a click on it says so."""
    show(tab, tmp_path, page_of(orientation))
    assert np.linalg.norm(readout(tab) - MARKER_LPS_MM) < 5  # it begins at the peak
    press(tab, "axial", "h", "x")
    for sequence in ("2", "1"):  # T1ce, then the T1 whose own voxels lie elsewhere
        press(tab, "axial", sequence, "p")
        tab.until(f"document.querySelectorAll('input[name=sequence]')[{int(sequence) - 1}].checked")
        set_input(tab, "width", "it.min")
        set_input(tab, "centre", "it.max * 0.98")
        for plane, right, lower in (("axial", True, False), ("coronal", True, False), ("sagittal", False, False)):
            shown = pixels(tab, plane)[..., 0] > 128
            at = middle(shown)
            height, width = shown.shape
            if orientation != "oblique axial":  # tilted by 18 degrees: the marker is near the middle, but for left
                assert (at[0] > width / 2, at[1] > height / 2) == (right, lower), plane
            elif plane != "sagittal":
                assert at[0] > width / 2, plane
            assert 0 < shown.mean() < 0.05
            tab.click(*(corner(tab, plane) + at))
            assert np.linalg.norm(readout(tab) - MARKER_LPS_MM) < 4, plane
    spans = "[...document.querySelectorAll('figure[data-plane={}] .pane span:not(.name)')]"
    letters = {plane: tab.run(spans.format(plane) + ".map((s) => s.textContent[0]).join('')") for plane in PLANES}
    assert letters == {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}


def test_the_heat_maps_peak_is_where_the_report_says(tab: Tab, tmp_path: Path) -> None:
    """The lesion is right and posterior: left and low in the axial picture, on the right of the sagittal one."""
    show(tab, tmp_path, page_of(hot="lesion"))
    np.testing.assert_allclose(readout(tab), LESION_LPS_MM, atol=4)
    assert "heat 1.00" in tab.run("document.getElementById('readout').textContent")
    press(tab, "axial", "x")
    hot = {plane: pixels(tab, plane) for plane in PLANES}
    press(tab, "axial", "h")
    for plane, right, lower in (("axial", False, True), ("coronal", False, None), ("sagittal", True, None)):
        redder = hot[plane][..., 0] - pixels(tab, plane)[..., 0]
        greener = hot[plane][..., 1] - pixels(tab, plane)[..., 1]
        reddest = redder - greener
        at = middle(reddest > 0.9 * reddest.max())
        height, width = reddest.shape
        assert (at[0] > width / 2) == right, plane
        assert lower is None or (at[1] > height / 2) == lower
        tab.click(*(corner(tab, plane) + at))
        assert np.linalg.norm(readout(tab) - LESION_LPS_MM) < 6, plane
    press(tab, "axial", "h")
    set_input(tab, "opacity", "0")
    for plane in PLANES:
        assert (np.ptp(pixels(tab, plane), axis=2) == 0).all()  # grey alone


def test_slices_of_every_plane_are_scrolled_by_slider_wheel_and_keys(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page_of())
    for axis, plane in ((2, "axial"), (1, "coronal"), (0, "sagittal")):
        lowest, highest = (int(tab.run(f"document.getElementById('slice-{plane}').{end}")) for end in ("min", "max"))
        before = pixels(tab, plane)
        set_input(tab, f"slice-{plane}", "it.min")
        first = readout(tab)
        press(tab, plane, "PageUp")
        spacing = 5 if plane == "axial" else 3
        assert abs(readout(tab)[axis] - first[axis] - spacing) <= 1
        press(tab, plane, "End")
        assert abs(readout(tab)[axis] - first[axis] - (highest - lowest) * spacing) <= 1
        assert (pixels(tab, plane) != before).any()
        assert tab.run(f"document.querySelector('figure[data-plane={plane}] output').textContent").startswith(
            f"{highest}/"
        )
        x, y = corner(tab, plane) + 100
        tab.wheel(x, y, 120)  # down: back towards the first
        tab.settle()
        assert abs(readout(tab)[axis] - first[axis] - (highest - lowest - 3) * spacing) <= 1
        others = [k for k in range(3) if k != axis]
        np.testing.assert_array_equal(readout(tab)[others], first[others])
        press(tab, plane, "p")


def test_keys_move_the_cross_hair_and_the_other_planes_follow(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page_of())
    start = readout(tab)
    sagittal = pixels(tab, "sagittal")
    press(tab, "axial", *["ArrowRight"] * 4)
    assert readout(tab)[0] - start[0] == pytest.approx(4 * 2.5, abs=1)  # towards the patient's left
    assert (pixels(tab, "sagittal") != sagittal).any()
    press(tab, "coronal", *["ArrowUp"] * 4)
    assert readout(tab)[2] - start[2] == pytest.approx(4 * 2.5, abs=1)
    press(tab, "axial", *["ArrowUp"] * 4)
    assert readout(tab)[1] - start[1] == pytest.approx(-4 * 2.5, abs=1)
    press(tab, "axial", "p")
    np.testing.assert_array_equal(readout(tab), start)
    tab.run("document.body.focus(); document.activeElement.blur()")
    tab.key("h")  # outside the viewer a letter does nothing
    assert tab.run("document.getElementById('heat-shown').checked") is True


def test_window_and_sequence_are_under_the_hand(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page_of())
    press(tab, "axial", "h", "x")
    shown = pixels(tab, "axial")
    state = "[Number(document.getElementById('centre').value), Number(document.getElementById('width').value)]"
    centre, width = tab.run(state)
    set_input(tab, "centre", "Number(it.value) * 1.5")
    assert pixels(tab, "axial").mean() < shown.mean()  # a higher window is darker
    x, y = corner(tab, "axial") + 100
    tab.drag((x, y), (x + 60, y - 30), button="right")
    moved = tab.run(state)
    assert moved[0] < centre * 1.5
    assert moved[1] > width
    press(tab, "axial", "r")
    assert tab.run(state) == pytest.approx([centre, width], rel=0.02)
    np.testing.assert_array_equal(pixels(tab, "axial"), shown)
    tab.run("document.querySelector('input[value=t1]').click()")
    tab.until("document.getElementById('readout').textContent.includes('t1 ')")
    assert (pixels(tab, "axial") != shown).any()
    assert tab.run("document.querySelector('figure[data-plane=sagittal] output').textContent").endswith("/53")
    tab.run("document.querySelector('figure[data-plane=coronal] button').click()")
    tab.settle()
    figure = "document.querySelector('figure[data-plane=coronal] canvas').clientWidth"
    assert tab.run(figure) > 1000
    tab.run("document.querySelector('figure[data-plane=coronal] button').click()")


def test_a_finger_scrolls_the_page_and_its_tap_moves_the_cross_hair(tab: Tab, tmp_path: Path) -> None:
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    show(tab, tmp_path, page_of(), 390, 844)
    start = readout(tab)
    at = corner(tab, "axial") + 200
    scrolled = f"scrollY > {tab.run('scrollY')} + 50"
    tab.swipe(*at, 160)
    tab.until(scrolled)
    np.testing.assert_array_equal(readout(tab), start)
    tab.swipe(*(corner(tab, "axial") + 200))
    tab.until("!document.getElementById('readout').textContent.includes('heat 1.00')")
    assert (readout(tab)[:2] != start[:2]).all()
    tab.call("Emulation.setTouchEmulationEnabled", enabled=False)


def full_report() -> str:
    """A page with all that it can hold: four sequences with others beside, failed checks, and words without spaces."""
    prediction, study = case(warnings=("T2 was left out", LONG_WORD), abstained_because=("similarity", LONG_WORD))
    other = RunnerUpRecord("1.2." + "3" * 55, "echo 2", 40, 0.71, "its slices are 4.0 mm apart", ("timings of T1",))
    looked = PixelOpinionRecord(None, PixelKind.T1, 0.97, 0.99)
    made = prediction.report.preprocess
    series = tuple(replace(s, runners_up=(other, other), pixels=looked) for s in made.series)
    series += tuple(replace(series[0], modality=m) for m in (Modality.T2, Modality.FLAIR))
    checks = [QualityCheck(f"t1_figure_number_{n}", 0.5, "share", 0.0, 1.0, "ok") for n in range(30)]
    checks += [QualityCheck(f"brain_figure_{n}", 0.2, "share", 0.3, 1.0, "review") for n in range(4)]
    made = replace(made, series=series, quality=Quality("review", tuple(checks)))
    report = replace(prediction.report, preprocess=made, threshold=0.97)
    changed = replace(prediction, report=report, request_id=LONG_WORD)
    return draw_page(changed, None, make_viewer(changed, study, reference_anatomy(study, changed)))


OVERFLOWING = """(() => {
  const out = [], words = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  const check = (box, around, what) => {
    if (box.width && (box.right > around.right + 0.5 || box.left < around.left - 0.5)) out.push(what.slice(0, 120));
  };
  for (const e of document.querySelectorAll('main *')) {
    if (e.checkVisibility() && !e.closest('thead')) {
      check(e.getBoundingClientRect(), e.closest('section').getBoundingClientRect(), e.outerHTML);
    }
  }
  while (words.nextNode()) {
    const range = document.createRange(), e = words.currentNode.parentElement;
    if (!words.currentNode.data.trim()) continue;
    range.selectNodeContents(words.currentNode);
    const box = e.closest('td, th, .label, .pane, section, main').getBoundingClientRect();
    if (e.checkVisibility() && !e.closest('thead')) check(range.getBoundingClientRect(), box, range.toString());
  }
  return out;
})()"""
"""Elements outside their section, and words outside their cell; a table's head is hidden where its rows are stacked."""


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_nothing_runs_out_of_its_box(tab: Tab, tmp_path: Path, width: int, dark: bool) -> None:
    for text in (full_report(), page_of()):
        show(tab, tmp_path, text, width, 844, dark)
        tab.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        tab.settle()
        assert tab.run("document.documentElement.scrollWidth") == width
        assert tab.run(OVERFLOWING) == []
    body = tab.run("getComputedStyle(document.body).backgroundColor")
    assert body == ("rgb(18, 22, 28)" if dark else "rgb(242, 244, 247)")


def test_it_prints_on_two_pages(tab: Tab, tmp_path: Path) -> None:
    for text in (full_report(), page_of()):
        show(tab, tmp_path, text.replace(LONG_WORD, "word"))
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", tab.pdf())) == 2


def test_everything_that_takes_the_focus_has_a_name(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page_of())
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    found = {}
    for node in nodes:
        properties = {p["name"]: p["value"].get("value") for p in node.get("properties", ())}
        role = node.get("role", {}).get("value")
        if properties.get("focusable") and role != "RootWebArea":
            found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    assert all(name.strip() for names in found.values() for name in names), found
    assert {"axial slice", "coronal slice", "sagittal slice", "Centre", "Width", "Opacity"} == set(found["slider"])
    assert sorted(found["radio"]) == ["t1", "t1ce (reference)"]
    assert sorted(found["checkbox"]) == ["Cross-hair", "Heat map"]
    assert any(name.startswith("axial plane, slice") for name in found["application"])
    names = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "image"]
    (score,) = (name for name in names if "Score" in name)
    assert score == "Score 0.87 on a scale from 0, necrosis, to 1, recurrence, with the threshold at 0.5"


def test_a_strangers_script_does_not_run(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page_of().replace("</main>", "<script>window.ran = true</script></main>"))
    assert tab.run("window.ran") is None
    assert [p for p in tab.problems if "Content Security Policy" in p] == tab.problems != []
    tab.problems.clear()


def test_a_browser_that_cannot_show_the_images_shows_the_picture(tab: Tab, tmp_path: Path) -> None:
    damaged = re.sub(r'(id="volume-heat">.{40})', r"\1AAAA", page_of())
    show(tab, tmp_path, damaged)
    shown = "['viewer', 'still', 'viewer-problem'].map((id) => document.getElementById(id).hidden)"
    assert tab.run(shown) == [True, False, False]
    assert tab.problems != []  # the reason is on the page
    tab.problems.clear()


def test_a_heat_map_without_images_lies_on_grey(tab: Tab, tmp_path: Path) -> None:
    prediction, _ = case()
    show(tab, tmp_path, draw_page(prediction, None, make_viewer(prediction, None, reference_anatomy(None, prediction))))
    press(tab, "axial", "x")
    shown = pixels(tab, "axial")
    assert (shown == 48).all(axis=2).mean() > 0.3
    assert (shown[..., 0] - shown[..., 2]).max() > 60  # red
