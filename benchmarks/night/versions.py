"""Faults of a version: pods on a repository of their own, of another preprocessing, promotion, training or network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from glioserve_contract.tensors import CLASSIFIER_MODEL, LOGITS
from glioserve_export.version_files import ONNX_FILE
from glioserve_preprocess.files import file_digest
from glioserve_registry.demo_model import demo_repository
from glioserve_registry.layout.repository import add_version
from glioserve_registry.promoting.promotion import promote, rollback
from glioserve_registry.recipe_override import with_changed_recipe
from glioserve_triton.served.versions import load_manifest, save_manifest
from night.drift import OTHERS, set_reference
from night.strikes import Night, last

AGAIN_S = 4.0
"""Seconds in which the drift of a second pod would ring, were there any."""
SITE_STUDIES = 24
"""Studies of a site; drift is measured from 20 on."""
FEW_STUDIES = 4
OVERFLOWS_AT = 1e6
"""Factor that takes a logit out of the range of float16."""
_BEFORE = "logits before the fault"


def start_with_other_preprocessing(night: Night) -> None:
    """Start a pod whose version 1 has another preprocessing than that of the first pod."""
    night.release.start(repository=demo_repository(night.folder / "other", min_slices=12))


def start_with_version_two(night: Night) -> None:
    """Start a pod on a copy of the repository in which another version was promoted."""
    copy = night.folder / "promoted"
    shutil.copytree(night.release.repository, copy)
    made = night.folder / "version 2"
    with_changed_recipe(copy / "classifier" / "1", made, lambda recipe: replace(recipe, threshold=0.6))
    promote(copy, add_version(copy, made))
    night.release.start(repository=copy)


def undo_the_promotion(night: Night) -> None:
    """Have the version before serve again on that pod, which both versions' equal weights let it do at once."""
    rollback(last(night).repository)


def ask_a_version_of_another_training(night: Night) -> None:
    """Start a pod whose version was trained on other studies, and send it those of the night."""
    copy = night.folder / "watched"
    shutil.copytree(night.release.repository, copy)
    set_reference(copy, OTHERS)
    night.traffic.to(night.release.start(repository=copy), SITE_STUDIES)


def train_with_these_studies(night: Night) -> None:
    """Make the reference again with the night's studies among them, for a new pod, and send it as many."""
    old = last(night)
    set_reference(old.repository, (*OTHERS, *[night.traffic.score(old)] * len(OTHERS)))
    night.release.stop(old)
    night.traffic.to(night.release.start(repository=old.repository), SITE_STUDIES)
    time.sleep(AGAIN_S)


def start_with_an_overflow(night: Night) -> None:
    """Start a pod on which a version was promoted whose logits overflow in float16, and send it studies."""
    _start_with_a_network(night, "overflows", _overflows)


def roll_back_and_start_anew(night: Night) -> None:
    """Have the version before serve again; the container is started anew, by its end or by hand, and answers."""
    pod = last(night)
    rollback(pod.repository)
    night.release.stop(pod)
    night.traffic.to(night.release.start(repository=pod.repository), FEW_STUDIES)


def leave(night: Night) -> None:
    """Take the pod away that came last."""
    night.release.stop(last(night))


def _start_with_a_network(night: Night, name: str, change: Callable[[onnx.ModelProto], None]) -> None:
    copy, made = night.folder / name, night.folder / f"version that {name}"
    shutil.copytree(night.release.repository, copy)
    with_changed_network(copy / CLASSIFIER_MODEL.name / "1", made, change)
    promote(copy, add_version(copy, made))
    night.traffic.to(night.release.start(repository=copy), FEW_STUDIES)


def with_changed_network(source: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Write into ``target`` the version ``source`` with another graph, which its manifest has as if it were right."""
    with_changed_recipe(source, target, lambda recipe: recipe)
    model = onnx.load(target / ONNX_FILE)
    change(model)
    onnx.save(model, target / ONNX_FILE)
    manifest = load_manifest(target)
    save_manifest(replace(manifest, files={**manifest.files, ONNX_FILE: file_digest(target / ONNX_FILE)}), target)


def _overflows(model: onnx.ModelProto) -> None:
    """Multiply the logits and round them to float16, which makes them infinite."""
    factor = helper.make_tensor("factor", TensorProto.FLOAT, [], [OVERFLOWS_AT])
    model.graph.initializer.append(factor)
    _append(
        model,
        helper.make_node("Mul", [_BEFORE, "factor"], ["large"]),
        helper.make_node("Cast", ["large"], ["rounded"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["rounded"], [LOGITS.name], to=TensorProto.FLOAT),
    )


def _append(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Let the graph's logits go through further nodes, from :data:`_BEFORE` to the output's own name."""
    for node in model.graph.node:
        node.output[:] = [_BEFORE if name == LOGITS.name else name for name in node.output]
        node.input[:] = [_BEFORE if name == LOGITS.name else name for name in node.input]
    model.graph.node.extend(nodes)
