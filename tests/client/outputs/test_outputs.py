"""The files that an answer leaves: each complete, right and safe to open."""

import base64
import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from glioserve_client import Modality, Prediction, Volume, VolumeStudy, outputs, summary, write_outputs
from glioserve_client.outputs.anatomy import reference_anatomy
from glioserve_client.outputs.checks import room
from glioserve_client.outputs.page import draw_page
from glioserve_client.outputs.viewer import make_viewer
from glioserve_client.outputs.words import position_words
from glioserve_contract import NOT_FOR_CLINICAL_USE, from_dict
from glioserve_contract.records.preprocess import PixelOpinionRecord, Quality, QualityCheck, RunnerUpRecord
from glioserve_contract.records.report import Report
from glioserve_contract.sequences import PixelKind
from support.results.answers import DIGEST, blob, outputs_of, report_of, small_answer
from support.studies.heads import MARKER_LPS_MM, ORIENTATIONS, head_grid, head_volume


def case(orientation: str = "oblique sagittal", **report: object) -> tuple[Prediction, VolumeStudy]:
    shape, affine = head_grid(ORIENTATIONS[orientation], (4.0, 4.0, 8.0))
    heat = blob(shape, affine, MARKER_LPS_MM, 9.0)
    tensors = outputs_of(report_of(heat, affine, **report), heat)
    prediction = Prediction.from_outputs(tensors, heatmap=True, request_id="r1", client_warnings=("one left out",))
    return prediction, VolumeStudy({Modality.T1CE: Volume(head_volume(shape, affine), affine)})


def test_four_files_are_left_and_no_other(tmp_path: Path) -> None:
    prediction, study = case()
    written = write_outputs(prediction, tmp_path / "new" / "out", study)
    names = ["report.json", "heatmap.nii.gz", "overlay.png", "report.html"]
    assert [path.name for path in written.paths] == names
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == sorted(names)
    assert written.warnings == ()
    write_outputs(prediction, tmp_path / "new" / "out", study)  # again, over the first


def test_the_report_is_the_servers(tmp_path: Path) -> None:
    prediction, study = case()
    write_outputs(prediction, tmp_path, study)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"score", "label", "probabilities", "model", "preprocess", "timings_s", "warnings"} <= set(report)
    assert report["model"] == {"name": "glioma", "version": "1", "digest": DIGEST, "architecture": "resnet10"}
    assert from_dict(Report, report) == prediction.report


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_heat_maps_nifti_lies_where_the_heat_is(tmp_path: Path, orientation: str) -> None:
    prediction, study = case(orientation)
    write_outputs(prediction, tmp_path, study)
    image = nibabel.load(tmp_path / "heatmap.nii.gz")
    data = np.asarray(image.dataobj)
    peak_ras = (image.affine @ (*np.unravel_index(int(np.argmax(data)), data.shape), 1.0))[:3]
    assert np.linalg.norm(peak_ras - MARKER_LPS_MM * (-1, -1, 1)) < 6  # within the voxel that holds it
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.header.get_qform(), image.header.get_sform(), atol=1e-3)
    again = VolumeStudy.from_nifti({Modality.T1CE: tmp_path / "heatmap.nii.gz"}).volumes[Modality.T1CE]
    np.testing.assert_array_equal(again.voxels, prediction.heatmap.voxels)
    np.testing.assert_allclose(again.lps_from_voxel, prediction.heatmap.lps_from_voxel, atol=1e-4)


def test_the_picture_is_the_overlay(tmp_path: Path) -> None:
    prediction, study = case("axial")
    write_outputs(prediction, tmp_path, study)
    with Image.open(tmp_path / "overlay.png") as image:
        image.load()
    overlay, warnings = outputs.overlay_of(prediction, study)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(overlay.image))
    assert warnings == ()


def test_without_a_heat_map_there_is_no_picture(tmp_path: Path) -> None:
    tensors = outputs_of(report_of(None, np.eye(4), shape=(4, 5, 6)), None)
    prediction = Prediction.from_outputs(tensors, heatmap=False, request_id="r1")
    written = write_outputs(prediction, tmp_path)
    assert [path.name for path in written.paths] == ["report.json", "report.html"]
    assert "not asked for" in (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="heatmap=True"):
        outputs.overlay_of(prediction, None)


def test_a_missing_study_is_a_warning(tmp_path: Path) -> None:
    prediction, _ = case()
    assert write_outputs(prediction, tmp_path).warnings == ("No study was given.",)
    assert (tmp_path / "overlay.png").stat().st_size > 1000


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, study = case()
    (tmp_path / "report.json").write_text("old")

    def full_disc(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disc)
    with pytest.raises(OSError, match="No space"):
        write_outputs(prediction, tmp_path, study)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "old"


def test_threads_that_write_one_folder_leave_whole_files_and_no_rest(tmp_path: Path) -> None:
    reports = [report_of(None, np.eye(4), shape=(4, 5, 6), score=score) for score in (0.2, 0.8)]
    answers = [Prediction.from_outputs(outputs_of(r, None), heatmap=False, request_id="r") for r in reports]
    start = threading.Barrier(len(answers))

    def write(prediction: Prediction) -> None:
        start.wait(30)
        for _ in range(40):
            write_outputs(prediction, tmp_path)
            json.loads((tmp_path / "report.json").read_text())

    with ThreadPoolExecutor(len(answers)) as pool:
        list(pool.map(write, answers))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert json.loads((tmp_path / "report.json").read_text())["score"] in (0.2, 0.8)


class Page(HTMLParser):
    """Parser of a page: what it refers to, runs and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "input"):
            self._open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                self.references.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_the_page_says_everything_and_refers_to_nothing(tmp_path: Path) -> None:
    prediction, study = case(warnings=("T2 was left out",))
    write_outputs(prediction, tmp_path, study)
    page = Page((tmp_path / "report.html").read_text())
    assert "link" not in page.tags
    assert [r[:23] for r in page.references] == ["data:image/jpeg;base64,"]
    for said in (
        "Probability of recurrence 0.87",
        "Recurrence",
        "threshold 0.5",
        NOT_FOR_CLINICAL_USE,
        "T2 was left out",
        "one left out",
        DIGEST,
        "resnet10",
        "brain volume",
        "1340 ml",
        "t1ce (reference)",
        "TR and TE fit",
        "register",
        "1.84 s",
        "3.1 mm",
    ):
        assert said in page.words, said


def test_the_page_shows_the_evidence_of_each_series() -> None:
    """A radiologist can disagree: why, how sure, what the voxels say, and which others would have done."""
    other = RunnerUpRecord("1.2.3", "echo 2", 40, 0.71, "its slices are 4.0 mm apart, not 1.0 mm", ("timings of T1",))
    looked = PixelOpinionRecord(PixelKind.T1, PixelKind.T1, 0.97, 0.9)
    undecided = PixelOpinionRecord(None, PixelKind.T2, 0.55, 0.9)
    series = {
        Modality.T1: {"runners_up": (other,), "pixels": looked},
        Modality.T1CE: {"pixels": undecided},
    }
    report = from_dict(Report, json.loads(small_answer()["REPORT"][0]))
    records = tuple(replace(s, **series.get(s.modality, {})) for s in report.preprocess.series)
    preprocess = replace(report.preprocess, series=records)
    prediction = Prediction.from_outputs(small_answer(preprocess=preprocess), heatmap=True, request_id="r1")
    words = " ".join(Page(draw_page(prediction, None)).words.split())
    for said in (
        "Which series",
        "0.95",
        "description says t1; TR and TE fit",
        "T1 0.97",
        "undecided (T2 0.55, below 0.90)",
        "not asked",
        "beside t1",
        "40 slices, echo 2",
        "0.71",
        "not taken: its slices are 4.0 mm apart, not 1.0 mm. timings of T1",
    ):
        assert said in words, said


def test_reasons_to_abstain_are_told_on_the_page_and_the_screen() -> None:
    prediction, _ = case(abstained_because=("similarity of t1 is 0.1, under 0.3",))
    page = Page(draw_page(prediction, None))
    for text in (page.words, summary(prediction)):
        assert "No label" in text
        assert "similarity of t1 is 0.1, under 0.3" in text
    assert "similarity t1" in page.words
    lines = summary(prediction).splitlines()
    assert lines[0].endswith("No label: look at the study first")
    assert lines[2].endswith("(threshold 0.5; it does not stand alone)")
    words = " ".join(page.words.split())
    assert words.index("No label: look at the study first") < words.index("similarity") < words.index("Warnings")
    assert "Probability of recurrence" not in words  # a number at the top would be read as the answer
    assert "scores that do not stand alone: recurrence 0.87" in words
    assert "Quality                    review (similarity_t1)" in summary(prediction)


def test_a_hostile_answer_is_text_on_the_page() -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    tensors = small_answer(warnings=(hostile,), notice=hostile)
    prediction = Prediction.from_outputs(tensors, heatmap=True, request_id="r1", client_warnings=(hostile,))
    page = Page(draw_page(prediction, b"png"))
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert page.words.count(hostile) == 3


def test_the_page_runs_its_own_script_and_style_and_no_other() -> None:
    """The security policy names both by their digests, and nothing else may run, load or send."""
    prediction, study = case()
    anatomy = reference_anatomy(study, prediction)
    text = draw_page(prediction, b"jpeg", make_viewer(prediction, study, anatomy))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    ours = {}
    for kind in ("style", "script"):
        (body,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        ours[kind] = "'sha256-" + base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() + "'"
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src {ours['style']}",
        f"script-src {ours['script']}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    data = re.findall(r'<script type="([^"]*)" id="([^"]*)">', text)
    assert data == [
        ("application/json", "viewer-setup"),
        ("text/plain", "volume-t1ce"),
        ("text/plain", "volume-heat"),
    ]
    assert " style=" not in text  # it would be refused


def test_the_page_begins_with_what_failed_and_what_is_near_its_bound() -> None:
    report = from_dict(Report, json.loads(small_answer()["REPORT"][0]))
    checks = (
        QualityCheck("brain_volume", 1.5, "litre", 0.9, 2.2, "ok"),
        QualityCheck("t2_displacement", 38.0, "mm", 0.0, 40.0, "ok"),
        QualityCheck("brain_solidity", 0.5, "share", 0.83, 1.0, "review"),
    )
    preprocess = replace(report.preprocess, quality=Quality("review", checks))
    tensors = small_answer(preprocess=preprocess, label="", abstained_because=("solidity",))
    tensors["LABEL"][0] = b""
    words = Page(draw_page(Prediction.from_outputs(tensors, heatmap=True, request_id="r1"))).words
    found = [words.index(said) for said in ("brain solidity", "t2 displacement", "well within", "brain volume")]
    assert found == sorted(found)
    assert "1 of 3 quality checks ask for a review" in words
    assert "ok, near its bound" in words


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (QualityCheck("a", 1.31, "ratio", 1.3, 100.0, "ok"), 0.01 / 1.3),  # of the bound: the range is for form's sake
        (QualityCheck("a", 0.84, "share", 0.83, 1.0, "ok"), 0.01 / 0.17),  # of the range, which is the smaller
        (QualityCheck("a", 1.0, "share", 0.0, 1.0, "ok"), float("inf")),  # a share cannot be above 1
        (QualityCheck("a", 0.0, "ratio", 0.0, 0.9, "ok"), 1.0),  # nor a ratio below 0
        (QualityCheck("a", 1.0, "count", 1.0, 4.0, "ok"), 0.0),
        (QualityCheck("a", 0.0, "slices", 0.0, 0.0, "ok"), float("inf")),  # the only value that is fine
        (QualityCheck("a", 2.15, "litre", 0.9, 2.2, "ok"), 0.05 / 1.3),
    ],
)
def test_the_room_to_a_bound_that_can_be_crossed(check: QualityCheck, expected: float) -> None:
    assert room(check) == pytest.approx(expected)


def test_the_screen_says_what_matters() -> None:
    prediction, _ = case()
    text = summary(prediction)
    lines = text.splitlines()
    assert lines[0] == "Probability of recurrence  0.870  (threshold 0.5)"
    assert lines[1].split() == ["Label", "Recurrence"]
    assert lines[-1] == NOT_FOR_CLINICAL_USE
    for said in (DIGEST, "resnet10", "register 1.84 s", "r1", "one left out"):
        assert said in text


def test_positions_are_said_in_words() -> None:
    assert position_words((23.4, -14.0, 40.0)) == "L 23, A 14, H 40 mm"
    assert position_words((-1.2, 9.0, -3.0)) == "R 1, P 9, F 3 mm"
