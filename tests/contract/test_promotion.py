"""The record of what serves, the seal that guards it, and who serves by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.facts.publication import GateVerdict, PublicationRecord
from glioserve_contract.records.manifest import parse_manifest
from glioserve_contract.records.promotion import PROMOTION_SCHEMA, Begun, Change, Promotion, parse_promotion
from glioserve_contract.seal import BLANK_SEAL, seal_holds, sealed_json
from glioserve_triton.served.promotions import load_promotion, load_serving, serving_version, version_numbers
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.recipes import fake_export

AT = "2031-05-06T07:08:09+00:00"
PUBLICATION = PublicationRecord(AT, "2.0", "2.0.0", "sha256:" + "1" * 64, GateVerdict(True, ()))
RECORD = Promotion(
    schema=PROMOTION_SCHEMA,
    serving=3,
    previous=2,
    begun=Begun("promote", 3, 2, AT),
    history=(Change("publish", 2, AT), Change("promote", 3, AT, 2, override="the chief said so", undone="it broke")),
)


def text_of(record: Promotion) -> bytes:
    return sealed_json(to_dict(record))


# The seal


def test_a_sealed_text_is_what_was_sealed_and_its_seal() -> None:
    text = sealed_json({"seal": BLANK_SEAL, "a": 1})
    assert seal_holds(text)
    assert {**json.loads(text), "seal": BLANK_SEAL} == {"seal": BLANK_SEAL, "a": 1}
    assert text != sealed_json({"seal": BLANK_SEAL, "a": 2})


@given(st.integers(0, len(text_of(RECORD)) - 1), st.integers(1, 255))
def test_every_changed_byte_breaks_it(place: int, change: int) -> None:
    text = bytearray(text_of(RECORD))
    text[place] ^= change
    assert not seal_holds(bytes(text))


def test_every_single_bit_breaks_it() -> None:
    text = text_of(RECORD)
    for place in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[place] ^= 1 << bit
            assert not seal_holds(bytes(changed)), (place, bit)


def test_a_longer_or_shorter_text_breaks_it() -> None:
    text = text_of(RECORD)
    for changed in (text + b" ", text[:-1], text.replace(b"\n", b"\r\n"), b"", text + text):
        assert not seal_holds(changed)


@pytest.mark.parametrize("value", [{}, {"seal": "sha256:" + "1" * 64}, {"seal": BLANK_SEAL, "b": {"seal": BLANK_SEAL}}])
def test_what_has_not_one_blank_seal_is_not_sealed(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="once, blank"):
        sealed_json(value)


def test_a_published_manifest_is_sealed_and_an_exported_one_is_not(tmp_path: Path) -> None:
    manifest = load_manifest(fake_export(tmp_path))
    assert b"seal" not in (tmp_path / "manifest.json").read_bytes()
    save_manifest(replace(manifest, publication=PUBLICATION), tmp_path)
    published = load_manifest(tmp_path, verify_files=True)
    assert published.publication is not None
    assert replace(published.publication, seal=BLANK_SEAL) == PUBLICATION
    text = (tmp_path / "manifest.json").read_bytes()
    altered = text.replace(b'"threshold": 0.5', b'"threshold": 0.4')
    assert altered != text
    assert parse_manifest(altered).recipe.threshold == 0.4
    (tmp_path / "manifest.json").write_bytes(altered)
    with pytest.raises(GlioserveError, match="not as it was published") as caught:
        load_manifest(tmp_path, verify_files=True)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


def test_saving_a_manifest_again_seals_it_again(tmp_path: Path) -> None:
    manifest = replace(load_manifest(fake_export(tmp_path)), publication=PUBLICATION)
    save_manifest(manifest, tmp_path)
    save_manifest(replace(load_manifest(tmp_path), created=AT), tmp_path)
    assert load_manifest(tmp_path, verify_files=True).created == AT


# The record


def test_the_record_survives_its_file() -> None:
    assert replace(parse_promotion(text_of(RECORD)), seal=BLANK_SEAL) == RECORD


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "does not fit its schema"),
        (b"\xff", "does not fit its schema"),
        (text_of(RECORD).replace(b'"serving": 3', b'"serving": 2'), "a byte of it changed"),
        (text_of(replace(RECORD, serving=0)), "must be 1 or more"),
        (text_of(RECORD).replace(b"promotion/2", b"promotion/9"), "glioserve/promotion/2"),
    ],
)
def test_a_record_that_is_not_as_it_was_written_is_refused(tmp_path: Path, text: bytes, complaint: str) -> None:
    (tmp_path / "promotion.json").write_bytes(text)
    with pytest.raises(GlioserveError, match=complaint) as caught:
        load_promotion(tmp_path)
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY
    assert "move it away" in str(caught.value), "the message says what to do"


def test_who_serves_is_the_records_to_say_and_the_newest_without_one(tmp_path: Path) -> None:
    classifier = tmp_path / "classifier"
    assert serving_version(tmp_path) is None
    for number in (2, 3, 10):
        fake_export(classifier / str(number))
    for name in ("07", "4.partial", "x", "4٥", ".staging-1"):
        (classifier / name).mkdir()
    assert version_numbers(classifier) == (2, 3, 10)
    assert serving_version(tmp_path) == 10
    assert load_serving(tmp_path).version == "10"
    (classifier / "promotion.json").write_bytes(text_of(RECORD))
    assert serving_version(tmp_path) == 3
    assert load_serving(tmp_path).version == "3"


def test_a_version_that_is_to_serve_and_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GlioserveError, match="No version under classifier/"):
        load_serving(tmp_path)
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "promotion.json").write_bytes(text_of(RECORD))
    with pytest.raises(GlioserveError, match="Version 3, which is to serve, is not there") as caught:
        load_serving(tmp_path)
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


def test_recency_follows_the_history() -> None:
    record = replace(
        RECORD,
        serving=1,
        history=(
            Change("publish", 1, AT),
            Change("promote", 2, AT, 1),
            Change("promote", 3, AT, 2),
            Change("rollback", 2, AT, 3),
            Change("promote", 1, AT, 2),
        ),
    )
    assert sorted((1, 2, 3, 4), key=record.recency) == [4, 3, 2, 1]
