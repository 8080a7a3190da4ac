"""Predictors without a server: an artifact and its exported version agree, and name the network that answered."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.conftest import OneNetwork, PhantomCohort
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import BrainExtraction, preprocessing_digest
from glioserve_evaluation.runs.prediction import recipe_digest
from glioserve_evaluation.runs.predictors import open_offline
from glioserve_networks import load_artifact
from glioserve_registry.demo_model import demo_model_dir
from glioserve_registry.layout.repository import add_version, version_folder
from glioserve_triton.served.versions import load_manifest
from support.models.recipes import fake_export, tiny_recipe
from support.server.triton import wait_until

SAME_SCORE = 1e-5


def test_the_facts_are_those_of_the_folder(one_network: OneNetwork) -> None:
    model = open_offline(one_network.version).model
    manifest = load_manifest(one_network.version)
    assert (model.source, model.name, model.version) == ("exported version", "tiny", "")
    assert model.weights_digest == manifest.weights_digest
    assert model.recipe_digest == recipe_digest(manifest.recipe)
    assert model.preprocessing_digest == preprocessing_digest(manifest.recipe)
    assert (model.architecture, model.channels) == ("resnet10", ("t1", "t1ce", "t2"))
    assert (model.threshold, model.temperature) == (0.5, 1.0)
    trained = open_offline(one_network.artifact).model
    assert trained == replace(model, source="artifact")
    assert trained.same_network(model)
    assert trained.weights_digest == load_artifact(one_network.artifact).weights_digest


def test_a_published_version_brings_its_number(one_network: OneNetwork, tmp_path: Path) -> None:
    number = add_version(tmp_path / "repository", one_network.version, 4)
    assert open_offline(version_folder(tmp_path / "repository", number)).model.version == "4"
    shutil.copytree(one_network.version, tmp_path / "7")
    assert open_offline(tmp_path / "7").model.version == "", "a number without publication is a folder's name"


def test_an_artifact_and_its_exported_version_give_one_score(one_network: OneNetwork, phantoms: PhantomCohort) -> None:
    trained, exported = (open_offline(f)(phantoms.folder_study) for f in (one_network.artifact, one_network.version))
    assert trained.score == pytest.approx(exported.score, abs=SAME_SCORE)
    assert 0.001 < trained.score < 0.999, "a saturated score would agree with anything"
    assert (trained.quality, trained.abstained) == (exported.quality, exported.abstained)
    assert trained.model.same_network(exported.model)


@pytest.mark.long
def test_the_demo_model_tells_the_phantoms_apart_on_any_number_of_threads(phantoms: PhantomCohort) -> None:
    alone, together = open_offline(demo_model_dir(), threads=1), open_offline(demo_model_dir())
    necrosis = alone(phantoms.folder_study).score
    assert necrosis < 0.1
    assert alone(phantoms.zip_study).score > 0.9
    assert necrosis == pytest.approx(together(phantoms.folder_study).score, abs=1e-6)


def test_a_predictor_travels_between_processes(one_network: OneNetwork) -> None:
    predictor = open_offline(one_network.artifact, threads=1)
    assert pickle.loads(pickle.dumps(predictor)) == predictor


WORKERS = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from glioserve_evaluation.runs.predictors import start_worker

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), start_worker, (1,))
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not lives(worker), f"the end of worker {worker}")


def lives(process: int) -> bool:
    """Return whether the process is there, and is not a zombie that waits to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_study_that_is_refused_is_the_pipelines_error(one_network: OneNetwork, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    with pytest.raises(GlioserveError) as caught:
        open_offline(one_network.version)(tmp_path / "study")
    assert caught.value.code is ErrorCode.EMPTY_STUDY


def test_a_folder_that_is_neither_is_told_what_would_be(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(GlioserveError, match=r"neither an artifact .* REPOSITORY/classifier/1") as caught:
            open_offline(folder)
        assert caught.value.code is ErrorCode.INVALID_ARTIFACT


def test_a_version_whose_file_was_changed_is_not_evaluated(tmp_path: Path) -> None:
    folder = fake_export(tmp_path / "version")
    (folder / "model.onnx").write_bytes(b"onny")
    with pytest.raises(GlioserveError, match=r"model\.onnx") as caught:
        open_offline(folder)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


def test_a_brain_model_that_is_not_there_is_told_once_and_not_per_study(tmp_path: Path) -> None:
    named = BrainExtraction("network", model="strip.onnx", digest="sha256:" + "d" * 64)
    folder = fake_export(tmp_path / "version", replace(tiny_recipe(), brain_extraction=named))
    with pytest.raises(GlioserveError) as caught:
        open_offline(folder)
    assert caught.value.code is ErrorCode.BRAIN_MODEL_MISSING
