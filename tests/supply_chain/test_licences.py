"""No package of the default install, or of the image, is under a licence that must not be passed on freely."""

from __future__ import annotations

from email.message import Message
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.cluster.image import locked
from support.scripts import script

ROOT = Path(__file__).resolve().parents[2]
licences = script("licences")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def found():
    return {package.name: package for package in licences.packages()}


def test_every_licence_is_known_and_permits(found):
    assert [(p.name, p.licence) for p in found.values() if p.version and not p.permitted] == []
    assert len(found) > 60
    assert {"numpy", "pydicom", "torch", "simpleitk", "nvidia-pytriton", "pylibjpeg-openjpeg"} <= set(found)


def test_it_covers_every_image_and_the_client(found):
    assert set(locked()) | set(locked("development-requirements.txt")) | set(locked("pacs-requirements.txt")) <= set(
        found
    )
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    needed = [*client["dependencies"], *(line for extra in client["optional-dependencies"].values() for line in extra)]
    assert {canonicalize_name(Requirement(line).name) for line in needed} <= set(found)


def test_each_extra_that_is_not_left_out_is_judged(found):
    for extra in set(EXTRAS) - licences.LEFT_OUT:
        for requirement in map(Requirement, EXTRAS[extra]):
            assert canonicalize_name(requirement.name) in found, f"{requirement} of {extra}"


def test_only_these_extras_are_left_out():
    assert set(EXTRAS) >= licences.LEFT_OUT
    named = {extra for line in EXTRAS["dev"] for extra in Requirement(line).extras if line.startswith("glioserve")}
    assert named.isdisjoint(licences.LEFT_OUT)  # so that all that is judged is installed where tests run


def test_the_gpl_codec_is_in_one_extra_alone():
    holders = {
        extra
        for extra, lines in EXTRAS.items()
        if "pylibjpeg-libjpeg" in {canonicalize_name(Requirement(line).name) for line in lines}
    }
    pulled = {extra for extra, lines in EXTRAS.items() for line in lines if "gpl-codecs" in Requirement(line).extras}
    assert (holders, pulled) == ({"gpl-codecs"}, set())
    assert "pylibjpeg-libjpeg" not in locked()


def about(**fields):
    message = Message()
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            message[name.replace("_", "-")] = one
    return message


MIT = "License :: OSI Approved :: MIT License"


@pytest.mark.parametrize(
    ("fields", "permitted"),
    [
        ({"License_Expression": "MIT"}, True),
        ({"License_Expression": "Apache-2.0 OR GPL-2.0-only"}, True),
        ({"License_Expression": "MIT AND GPL-3.0-or-later"}, False),
        ({"License_Expression": "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1"}, True),
        ({"License_Expression": "LicenseRef-Proprietary"}, False),
        ({"License": "GPL V3.0"}, False),
        ({"License": "GPL V3.0", "Classifier": MIT}, False),
        ({"License": "MIT", "Classifier": MIT}, True),
        ({"Classifier": [MIT, "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"]}, False),
        ({"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"}, False),
        ({"Classifier": "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"}, False),
        ({"Classifier": "License :: Other/Proprietary License"}, False),
        ({"License": "Do what you like"}, False),
        ({}, False),
        ({"License": "Copyright (c) 2020 Somebody.\nRedistribution and use in source and binary forms, ..."}, True),
    ],
)
def test_what_metadata_may_say(fields, permitted):
    assert licences.Package("some", "1", licences.licence_of(about(**fields))).permitted is permitted


def test_the_notice_names_both_networks_and_stands_on_their_cards():
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())
    sentence = "provided that the above copyright notice appear in all copies"
    assert sentence in notice
    package = ROOT / "preprocess_service" / "glioserve_preprocess"
    for card in (package / "models" / "glioserve-brain.md", package / "opinion" / "glioserve-opinion.md"):
        text = " ".join(card.read_text(encoding="utf-8").split())
        assert "Copyright (C) 1993-2004 Louis Collins" in text
        assert sentence in text
        assert card.with_suffix(".onnx").name in notice
