"""The file of a reference case, and how an answer to it is judged."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import ReferenceCase, VariantLimits
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE, check_score, score_of, served_tolerance
from glioserve_networks import load_artifact, save_artifact
from glioserve_networks.reference_case import load_case, read_case, write_case
from glioserve_preprocess.files import file_digest, load_recipe
from support.models.networks import random_network
from support.models.recipes import tiny_recipe
from support.models.reference_cases import artifact_with_case, made_image

RECIPE = tiny_recipe()
T1, T1CE, T2 = RECIPE.channels
IMAGE = made_image(RECIPE)


def judged(classes: tuple[str, str], score: float, tolerance: float = 0.01) -> Any:
    case = ReferenceCase("sha256:" + "0" * 64, score, tolerance)
    return replace(RECIPE, classes=classes, reference_case=case)


def test_a_case_comes_back_in_the_recipes_order(tmp_path: Path) -> None:
    write_case(tmp_path / "case.npz", IMAGE[[2, 0, 1]], (T2, T1, T1CE))
    case = load_case(tmp_path / "case.npz", RECIPE)
    np.testing.assert_array_equal(case.image, IMAGE)
    assert case.names_channels
    assert case.content == (tmp_path / "case.npz").read_bytes()
    assert case.digest == file_digest(tmp_path / "case.npz")
    write_case(tmp_path / "again.npz", IMAGE[[2, 0, 1]], (T2, T1, T1CE))
    assert file_digest(tmp_path / "again.npz") == case.digest


def test_a_case_without_names_is_in_the_recipes_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", image=IMAGE)
    case = load_case(tmp_path / "case.npz", RECIPE)
    np.testing.assert_array_equal(case.image, IMAGE)
    assert not case.names_channels


def packed(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def one_member(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def header_of_a_terabyte() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"no archive", "cannot be read"),
        (packed(image=IMAGE)[:2000], "cannot be read"),
        (packed(pictures=IMAGE), "not just 'image'"),
        (packed(image=IMAGE, patient=np.array("a name")), "not just 'image'"),
        (packed(image=IMAGE[:2]), "float32 [2, 16, 16, 16]; the recipe's network is shown float32 [3, 16, 16, 16]"),
        (packed(image=IMAGE.astype(np.float16)), "float16"),
        (packed(image=np.where(IMAGE > 1, np.nan, IMAGE)), "not finite"),
        (packed(image=IMAGE, channels=np.array(["t1", "t1ce", "flair"])), "t1, t1ce, flair, the recipe t1, t1ce, t2"),
        (packed(image=IMAGE, channels=np.array(["t1", "t1ce"])), "t1, t1ce, the recipe"),
        (one_member("image.npy", bytes(10 << 20)), "unpacks to more"),
        (one_member("image.npy", header_of_a_terabyte()), "cannot be read"),
        (one_member("image.npy", b"\x93NUMPY"), "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_case_says_why(content: bytes, says: str) -> None:
    with pytest.raises(GlioserveError) as caught:
        read_case(content, RECIPE)
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT
    assert says in caught.value.detail


def test_a_pickled_array_is_not_loaded(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "witness",)

    stream = io.BytesIO()
    np.savez(stream, image=np.array([Malicious()], dtype=object))
    with pytest.raises(GlioserveError, match="cannot be read"):
        read_case(stream.getvalue(), RECIPE)
    assert not (tmp_path / "witness").exists()


def test_a_file_too_large_to_be_a_case_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "case.npz").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(GlioserveError, match="is larger than an image"):
        load_case(tmp_path / "case.npz", RECIPE)
    with pytest.raises(GlioserveError, match="is missing"):
        load_case(tmp_path / "none.npz", RECIPE)


@pytest.mark.parametrize("image", [IMAGE[0], IMAGE.astype(np.float64), IMAGE[:2]], ids=["3D", "float64", "2 channels"])
def test_a_case_of_another_kind_is_not_written(image: Any, tmp_path: Path) -> None:
    with pytest.raises(GlioserveError, match=r"FP32 \[3, D, H, W\]"):
        write_case(tmp_path / "case.npz", image, RECIPE.channels)
    assert not (tmp_path / "case.npz").exists()


# In an artifact


def test_an_artifact_carries_its_case(tmp_path: Path) -> None:
    recipe = artifact_with_case(tmp_path / "artifact", RECIPE)
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.recipe == recipe
    assert artifact.reference_case is not None
    np.testing.assert_array_equal(artifact.reference_case.image, IMAGE)
    # An artifact with a case is an artifact: it can be replaced, by one without.
    save_artifact(tmp_path / "artifact", RECIPE, random_network(RECIPE).state_dict())
    assert load_artifact(tmp_path / "artifact").reference_case is None
    assert not (tmp_path / "artifact" / REFERENCE_CASE_FILE).exists()


def test_case_and_recipe_belong_together(tmp_path: Path) -> None:
    recipe = artifact_with_case(tmp_path / "artifact", RECIPE)
    weights = random_network(RECIPE).state_dict()
    other = packed(image=IMAGE)
    for described, content, says in (
        (recipe, None, "is not there"),
        (recipe, other, "is not the file"),
        (RECIPE, other, "is not the file"),
    ):
        with pytest.raises(GlioserveError, match=says):
            save_artifact(tmp_path / "never", described, weights, content)
        assert not (tmp_path / "never").exists()
    file = tmp_path / "artifact" / REFERENCE_CASE_FILE
    whole = file.read_bytes()
    for content, says in ((other, "is not the file"), (whole[:-9], "cannot be read"), (None, "is not there")):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(GlioserveError, match=says) as caught:
            load_artifact(tmp_path / "artifact")
        assert caught.value.code is ErrorCode.INVALID_ARTIFACT
    assert load_recipe(tmp_path / "artifact" / "recipe.json").reference_case == recipe.reference_case


# The judgement


@pytest.mark.parametrize("classes", [("necrosis", "recurrence"), ("recurrence", "necrosis")])
def test_the_score_is_recurrences_whatever_the_order(classes: tuple[str, str]) -> None:
    recipe = replace(RECIPE, classes=classes, temperature=7.0)
    logits = [0.0, 0.0]
    logits[classes.index("recurrence")] = 2.0
    assert score_of(logits, recipe) == pytest.approx(0.8807970779778823)
    for extreme in (1e4, -1e4):
        logits[classes.index("recurrence")] = extreme
        assert score_of(logits, recipe) == (1.0 if extreme > 0 else 0.0)


def test_a_wrong_score_is_told_with_what_would_explain_it() -> None:
    recipe = judged(("necrosis", "recurrence"), 0.9)
    assert check_score([0.0, 2.2], recipe, "it") == pytest.approx(0.9, abs=0.01)
    with pytest.raises(GlioserveError) as caught:
        check_score([2.2, 0.0], recipe, "the network")
    assert caught.value.code is ErrorCode.REFERENCE_CASE_FAILED
    assert "the network gives the reference case the score 0.0998, not 0.9000" in caught.value.detail
    assert "classes in the other order" in caught.value.detail
    with pytest.raises(GlioserveError) as caught:
        check_score([0.0, 0.0], recipe, "it")
    assert "other order" not in caught.value.detail
    for logits in ([0.0, float("nan")], [float("inf"), 0.0], [1.0], []):
        with pytest.raises(GlioserveError, match="no two finite numbers"):
            check_score(logits, recipe, "it")


@pytest.mark.parametrize(("score", "tolerance"), [(0.9, 0.01), (0.45, 0.01), (0.56, 0.02), (0.0, 0.1), (0.5101, 0.005)])
@pytest.mark.parametrize("drift", [0.0, 0.02, 1.0])
def test_a_served_score_may_stray_by_a_variants_drift_and_never_to_the_other_side(
    score: float, tolerance: float, drift: float
) -> None:
    recipe = replace(judged(("necrosis", "recurrence"), score, tolerance), variant_limits=VariantLimits(drift))
    recipe.reference_case.check("case")
    allowed = served_tolerance(recipe)
    assert tolerance <= allowed <= tolerance + drift
    assert abs(1 - score - score) > allowed  # what swapped classes would answer


def test_channels_have_names_of_the_contract(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="t9"):
        write_case(tmp_path / "case.npz", IMAGE, (Modality.T1, Modality.T2, "t9"))  # type: ignore[arg-type]
