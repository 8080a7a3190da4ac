"""Architectures that a site brings by an entry point: they join ours, and a broken one says whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Architecture
from glioserve_networks import ClassifierNet, TailedNet, architectures, build, load_artifact, save_artifact
from glioserve_networks.architectures.options import likely, shapes_of
from glioserve_networks.architectures.registry import OURS
from glioserve_networks.architectures.resnet import ResNet10
from support.models.checkpoints import refused, saved
from support.models.recipes import tiny_recipe
from support.models.site_package import POINTS, install

CODES = {"unsupported": ErrorCode.UNSUPPORTED_ARCHITECTURE, "recipe": ErrorCode.INVALID_RECIPE}


def test_a_sites_architectures_join_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert architectures() == tuple(OURS)
    install(tmp_path, monkeypatch)
    assert architectures() == (*OURS, *sorted(POINTS))
    kinds = {"site_pooled": (True, False), "site_attending": (False, True), "site_plain": (False, False)}
    assert kinds.keys() < POINTS.keys()
    for name, kind in kinds.items():
        network = build(Architecture(name, {"width": 3}), in_channels=2)
        assert (isinstance(network, ClassifierNet), isinstance(network, TailedNet)) == kind
        assert network(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 2)


def test_an_artifact_of_a_sites_network_needs_the_sites_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(architecture=Architecture("site_attending"))
    with monkeypatch.context() as installed:
        install(tmp_path / "site", installed)
        network = build(recipe.architecture, 3)
        save_artifact(tmp_path / "artifact", recipe, network.state_dict())
        assert isinstance(load_artifact(tmp_path / "artifact").network(), nn.Module)
    with pytest.raises(GlioserveError, match="'site_attending', known: resnet10") as caught:
        load_artifact(tmp_path / "artifact")
    assert caught.value.code is ErrorCode.UNSUPPORTED_ARCHITECTURE


def test_our_names_cannot_be_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, {"resnet10": "site_networks:plain"})
    assert architectures() == tuple(OURS)
    assert isinstance(build(Architecture("resnet10", {"widen_factor": 0.0625}), 1), ResNet10)


@pytest.mark.parametrize(
    ("value", "options", "code", "says"),
    [
        ("site_networks:Missing", {}, "unsupported", "AttributeError"),
        ("no_such_module:Network", {}, "unsupported", "ModuleNotFoundError"),
        ("site_networks:NOT_CALLABLE", {}, "unsupported", "is a int, which cannot be called"),
        ("site_networks:no_module", {}, "unsupported", "returns a str, not a torch.nn.Module"),
        ("site_networks:raising", {}, "unsupported", "KeyError: 'a table of its own'"),
        ("site_networks:plain", {"depth": 3}, "recipe", "depth"),
    ],
)
def test_a_broken_entry_point_is_one_of_our_errors(
    value: str, options: dict[str, int], code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, {"site_broken": value})
    with pytest.raises(GlioserveError, match=says) as caught:
        build(Architecture("site_broken", dict(options)), in_channels=3)
    assert caught.value.code is CODES[code]
    if code == "unsupported":
        assert "'site_broken'" in caught.value.detail


@pytest.mark.parametrize("code", ["raise RuntimeError('at import')", "def (", "import sys; sys.undefined"])
def test_a_module_that_fails_to_import_is_one_of_our_errors(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, {"site_broken": "broken_module:Network"}, module="broken_module", code=code)
    with pytest.raises(GlioserveError, match=r"'site_broken'.*fails to load") as caught:
        build(Architecture("site_broken"), in_channels=3)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ARCHITECTURE


def test_one_name_of_two_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "one", monkeypatch, {"site_plain": "site_networks:plain"})
    install(tmp_path / "two", monkeypatch, {"site_plain": "others:plain"}, module="others")
    with pytest.raises(GlioserveError, match=r"several packages \(others:plain, site_networks:plain\)") as caught:
        build(Architecture("site_plain"), in_channels=3)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ARCHITECTURE


def test_a_checkpoint_of_a_sites_network_is_known_by_its_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch)
    found = likely(shapes_of(Architecture("site_pooled"), 3))
    assert found is not None
    assert (found[0].name, found[1]) == ("site_pooled", 3)
    detail = refused(saved(build(Architecture("site_attending"), 3).state_dict(), tmp_path))
    assert "those of site_attending" in detail


def test_a_broken_site_package_does_not_spoil_the_message_about_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, {"site_broken": "site_networks:raising"})
    assert "No architecture of the registry" in refused(saved({"a": torch.zeros(1, 3, 2, 2, 2)}, tmp_path))
