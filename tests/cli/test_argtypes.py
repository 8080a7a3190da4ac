"""The types of command-line arguments: what each takes, and the sentence that refuses the rest."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_tls_arguments, tls_of, url
from glioserve_client import TlsOptions
from glioserve_contract import Modality

DAY = argtypes.DAY_S


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (argtypes.port, "0", 0),
        (argtypes.port, "65535", 65535),
        (argtypes.count, "1", 1),
        (argtypes.seconds(), "0.5", 0.5),
        (argtypes.seconds(most_s=DAY), "86400", DAY),
        (argtypes.seconds(most_s=DAY, zero=True), "0", 0.0),
        (argtypes.whole_seconds(most_s=DAY, zero=True), "30.9", 30),
        (argtypes.positive, "4", 4.0),
        (argtypes.share, "1", 1.0),
        (argtypes.series, "t1=1.2.3#echo 2", (Modality.T1, "1.2.3#echo 2")),
        (argtypes.series, "t1ce=a=b", (Modality.T1CE, "a=b")),
        (argtypes.volume_file, "flair=a.nii", (Modality.FLAIR, Path("a.nii"))),
        (url, "localhost:8001", "localhost:8001"),
    ],
)
def test_what_is_meant_is_taken(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "texts", "rule"),
    [
        (argtypes.port, ["-1", "65536", "http", ""], "a port's number, 0 to 65535"),
        (argtypes.count, ["0", "-2", "1.5", "many"], "a whole number of 1 or more"),
        (argtypes.seconds(), ["0", "-1", "nan", "inf", "soon"], "a number of seconds, more than 0"),
        (argtypes.seconds(most_s=DAY), ["0", "86400.5", "nan"], "more than 0 and at most 86400"),
        (argtypes.seconds(most_s=DAY, zero=True), ["-0.1", "inf"], "0 or more and at most 86400"),
        (argtypes.whole_seconds(most_s=DAY), ["0", "x"], "a number of seconds"),
        (argtypes.positive, ["0", "nan", "inf", "-3", "x"], "a number above 0"),
        (argtypes.share, ["0", "1.01", "nan", "half"], "a number above 0 and at most 1"),
        (argtypes.series, ["t1", "t9=1.2", "=1.2", "t1="], "SEQUENCE=UID with SEQUENCE one of t1, t1ce"),
        (argtypes.volume_file, ["t1", "t9=a", "t1="], "NAME=FILE with NAME one of t1, t1ce"),
    ],
)
def test_the_rest_is_refused_with_the_rule_and_the_word(
    read: Callable[[str], object], texts: list[str], rule: str
) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            read(text)
        assert rule in str(caught.value)
        assert repr(text) in str(caught.value)


def test_a_url_with_a_scheme_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        url("http://localhost:8001")


def test_any_tls_option_implies_tls() -> None:
    parser = argparse.ArgumentParser()
    add_tls_arguments(parser)
    assert tls_of(parser.parse_args([])) is None
    assert tls_of(parser.parse_args(["--tls"])) == TlsOptions()
    named = parser.parse_args(["--tls-ca", "ca.pem", "--tls-server-name", "triton"])
    assert tls_of(named) == TlsOptions(root_certificates=Path("ca.pem"), server_name="triton")
