"""An answer is taken only if it fits the contract and itself."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from glioserve_client import Label, Prediction, errors
from glioserve_contract import CONTRACT_VERSION, from_dict, to_dict
from glioserve_contract.records.report import Report
from support.results.answers import DIGEST, blob, outputs_of, report_of, small_answer

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def prediction(outputs: dict[str, Any], heatmap: bool = True) -> Prediction:
    return Prediction.from_outputs(outputs, heatmap=heatmap, request_id="r1")


def test_everything_of_an_answer_is_typed() -> None:
    answer = prediction(small_answer(0.87))
    assert answer.score == pytest.approx(0.87)
    assert answer.label is Label.RECURRENCE
    assert answer.abstained_because == ()
    assert answer.probabilities == {Label.NECROSIS: pytest.approx(0.13), Label.RECURRENCE: pytest.approx(0.87)}
    assert answer.threshold == 0.5
    assert (answer.model.name, answer.model.version, answer.model.digest) == ("glioma", "1", DIGEST)
    assert answer.quality.verdict == "ok"
    assert set(answer.timings_s) == {"read", "register", "classify", "report"}
    assert answer.notice.startswith("Not for clinical use")
    assert answer.heatmap is not None
    assert answer.heatmap.voxels.shape == (4, 5, 6)
    assert answer.heatmap.voxels.dtype == np.float32
    np.testing.assert_array_equal(answer.heatmap.lps_from_voxel, AFFINE)
    assert answer.heatmap.explained_class == "recurrence"
    assert from_dict(Report, json.loads(answer.report_json())) == answer.report


def test_an_answer_is_frozen() -> None:
    answer = prediction(small_answer())
    with pytest.raises(AttributeError):
        answer.request_id = "other"
    with pytest.raises(ValueError, match="read-only"):
        answer.heatmap.voxels[0, 0, 0] = 1
    with pytest.raises(TypeError):
        answer.probabilities[Label.NECROSIS] = 1.0


def test_repr_is_short_and_holds_no_series() -> None:
    answer = replace(prediction(small_answer()), original_series_uids={"2.25.1": "1.2.840.99999"})
    assert repr(answer) == "Prediction(score=0.870, label=recurrence, model=1, id=r1)"


def test_an_abstention_has_reasons_and_no_label() -> None:
    heat = blob((4, 5, 6), AFFINE, (6, 4, 3), 4)
    report = report_of(heat, AFFINE, score=0.8, abstained_because=("similarity of t1 is low",))
    answer = prediction(outputs_of(report, heat))
    assert answer.label is None
    assert answer.abstained_because == ("similarity of t1 is low",)
    assert "abstained" in repr(answer)


def test_without_a_heat_map_none_is_needed() -> None:
    report = report_of(None, AFFINE, shape=(4, 5, 6))
    assert prediction(outputs_of(report, None), heatmap=False).heatmap is None


def test_warnings_are_the_clients_then_the_servers() -> None:
    answer = replace(prediction(small_answer(warnings=("b",))), client_warnings=("a",))
    assert answer.warnings == ("a", "b")


def _report_json(outputs: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = json.loads(outputs["REPORT"][0])
    change(content)
    return {**outputs, "REPORT": np.array([json.dumps(content).encode()], dtype=np.object_)}


@pytest.mark.parametrize("version", ["1.3.0", "3.0.0", "0.9.1", "20.0.0"])
def test_another_major_version_is_a_mismatch_even_if_all_else_differs(version: str) -> None:
    outputs = small_answer()
    outputs["REPORT"] = np.array([json.dumps({"contract_version": version, "odd": 1}).encode()], dtype=np.object_)
    with pytest.raises(errors.ContractMismatchError, match=rf"{version}.*{CONTRACT_VERSION}"):
        prediction(outputs)


def test_a_later_minor_version_may_say_more() -> None:
    def newer(content: dict[str, Any]) -> None:
        content["contract_version"] = "2.99.0"
        content["calibration"] = {"bins": [1, 2]}
        content["model"]["vendor"] = "somebody"

    assert prediction(_report_json(small_answer(), newer)).score == pytest.approx(0.87)


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("score", value=0.2),
        _set("score", value=1.2),
        _set("score", value="high"),
        _set("score", value=float("nan")),
        _set("label", value="necrosis"),
        _set("label", value=""),
        _set("label", value="benign"),
        _set("abstained_because", value=["no reason"]),
        _set("probabilities", value={"necrosis": 0.5, "recurrence": 0.87}),
        _set("probabilities", value={"necrosis": 0.13, "relapse": 0.87}),
        _set("probabilities", "necrosis", value=-0.1),
        _set("threshold", value=0.95),
        _set("model", value=None),
        _set("heatmap", value=None),
        _set("preprocess", "reference_grid", "size_voxels", value=[5, 5, 6]),
        _set("preprocess", "reference_grid", "lps_from_voxel", value=np.eye(4).tolist()),
        _set("contract_version", value=None),
        _set("contract_version", value=1),
        lambda content: content.pop("contract_version"),
        lambda content: content.pop("preprocess"),
        lambda content: content["preprocess"].pop("quality"),
    ],
)
def test_a_report_that_contradicts_its_schema_or_itself_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(errors.UnexpectedAnswerError):
        prediction(_report_json(small_answer(), change))


def _tensor(name: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda outputs: {**outputs, name: value}


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda outputs: {key: value for key, value in outputs.items() if key != name}


@pytest.mark.parametrize(
    "spoil",
    [
        *(_without(name) for name in ("SCORE", "LABEL", "PROBABILITIES", "REPORT", "HEATMAP", "HEATMAP_AFFINE")),
        _tensor("SCORE", np.array([0.5], np.float32)),
        _tensor("SCORE", np.array([np.nan], np.float32)),
        _tensor("SCORE", np.array([0.87, 0.87], np.float32)),
        _tensor("SCORE", np.array([1], np.int32)),
        _tensor("PROBABILITIES", np.array([0.87, 0.13], np.float32)),
        _tensor("PROBABILITIES", np.array([[0.13, 0.87]], np.float32)),
        _tensor("LABEL", np.array([b"necrosis"], np.object_)),
        _tensor("LABEL", np.array([b"\xff\xfe"], np.object_)),
        _tensor("LABEL", np.array([], np.object_)),
        _tensor("REPORT", np.array([b"{"], np.object_)),
        _tensor("REPORT", np.array([b"[]"], np.object_)),
        _tensor("REPORT", np.array([b"[" * 100_000], np.object_)),
        _tensor("REPORT", np.array([b"\xff"], np.object_)),
        _tensor("HEATMAP", np.zeros((6, 5, 4), np.float32)),
        _tensor("HEATMAP", np.full((4, 5, 6), np.nan, np.float32)),
        _tensor("HEATMAP", np.full((4, 5, 6), 1.5, np.float32)),
        _tensor("HEATMAP", np.full((4, 5, 6), -0.5, np.float32)),
        _tensor("HEATMAP", np.zeros((4, 30), np.float32)),
        _tensor("HEATMAP_AFFINE", np.eye(4)),
        _tensor("HEATMAP_AFFINE", np.full((4, 4), np.nan)),
        _tensor("HEATMAP_AFFINE", np.eye(3)),
    ],
)
def test_a_tensor_that_is_missing_malformed_or_contradicts_is_refused(
    spoil: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    with pytest.raises(errors.UnexpectedAnswerError):
        prediction(spoil(small_answer()))


def test_the_sound_answer_of_these_tests_is_sound() -> None:
    """Were it not, every refusal above might have another cause."""
    prediction(_report_json(small_answer(), lambda content: None))
    prediction(small_answer(0.2))
    assert to_dict(prediction(small_answer(0.2)).report)["label"] == "necrosis"


def test_a_stored_prediction_comes_back_equal() -> None:
    uids = {"2.25.1": "1.2.840.99999.1.13"}
    answer = replace(
        prediction(small_answer(0.31)),
        client_warnings=("one",),
        original_series_uids=uids,
        client_timings_s={"call": 0.5},
    )
    again = Prediction.from_json(answer.to_json())
    assert again == answer
    assert again.heatmap is not None
    assert again.heatmap.voxels.dtype == np.float32
    assert replace(answer, attempts=2) != answer
    without = replace(answer, heatmap=None)
    assert Prediction.from_json(without.to_json()) == without != answer


def test_a_pickled_prediction_comes_back_equal() -> None:
    answer = prediction(small_answer(0.31))
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_heat_maps_are_equal_by_their_voxels_place_and_class() -> None:
    heatmap = prediction(small_answer()).heatmap
    assert heatmap is not None
    assert heatmap != replace(heatmap, explained_class="necrosis")
    assert heatmap != replace(heatmap, voxels=heatmap.voxels[::-1])
    assert heatmap != replace(heatmap, lps_from_voxel=heatmap.lps_from_voxel * 2)
    assert heatmap == replace(heatmap, voxels=heatmap.voxels.copy())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: text[:-9],
        lambda text: text.replace("glioserve-prediction/1", "glioserve-prediction/2"),
        lambda text: json.dumps({**json.loads(text), "heatmap": "AAAA"}),
        lambda text: json.dumps({**json.loads(text), "heatmap": 7}),
        lambda text: json.dumps({**json.loads(text), "report": {}}),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "attempts"}),
        lambda text: json.dumps({**json.loads(text), "request_id": None}),
        lambda text: json.dumps({**json.loads(text), "attempts": "2"}),
        lambda text: json.dumps({**json.loads(text), "client_warnings": "left out"}),
        lambda text: json.dumps({**json.loads(text), "client_timings_s": None}),
        lambda text: json.dumps({**json.loads(text), "client_timings_s": {"call": float("inf")}}),
        lambda text: json.dumps({**json.loads(text), "original_series_uids": {"1.2": 3}}),
    ],
)
def test_what_is_not_a_stored_prediction_is_refused(spoil: Callable[[str], str]) -> None:
    with pytest.raises(errors.UnexpectedAnswerError):
        Prediction.from_json(spoil(prediction(small_answer()).to_json()))


def test_a_notebook_shows_the_answer_with_its_notice() -> None:
    answer = prediction(small_answer(0.87, label="", abstained_because=("similarity <b>low</b>",)))
    shown = answer._repr_html_()
    assert shown.index("none: similarity") < shown.index("0.870")
    assert "similarity &lt;b&gt;low&lt;/b&gt;" in shown
    assert "Not for clinical use" in shown
