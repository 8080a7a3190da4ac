"""Request parameters: each by its exact name and type, or a refusal that says which are known."""

import json

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.parameters import PARAMETERS, parse_parameters

VALUES = {bool: False, str: "{}", int: 1_764_000_000_000}


def problem(parameters):
    with pytest.raises(GlioserveError) as caught:
        parse_parameters(parameters if isinstance(parameters, str) else json.dumps(parameters))
    assert caught.value.code is ErrorCode.INVALID_PARAMETER
    return str(caught.value)


@pytest.mark.parametrize("none", [None, "", "{}"])
def test_none_are_fine(none):
    assert parse_parameters(none) == {}


def test_each_is_read_by_its_name_and_type():
    given = {p.name: VALUES[p.type] for p in PARAMETERS}
    assert parse_parameters(json.dumps(given)) == given


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_another_type_is_refused(parameter):
    for value in (True, "false", "", 0, 1, 1.0, None, [], {}, float("nan")):
        if type(value) is not parameter.type:
            message = problem({parameter.name: value})
            assert f"{parameter.name!r} must be a {parameter.type_name}" in message, value


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("heatmapp", "heatmap"), ("heat_map", "heatmap"), ("HEATMAP", "heatmap"), ("Series", "series"),
        ("serie", "series"), ("modality", "modalities"), ("modalites", "modalities"), ("Timeout", "timeout"),
        ("sequence-id", "sequence_id"),
    ],
)  # fmt: skip
def test_the_nearest_is_suggested(written, meant):
    message = problem({written: "x"})
    assert f"{written!r} is unknown. Did you mean {meant!r}?" in message
    assert all(f"{p.name} ({p.type_name})" in message for p in PARAMETERS)


def test_a_parameter_of_http_alone_is_not_suggested_for_itself():
    assert "Did you mean" not in problem({"binary_data_output": True})


def test_nothing_is_suggested_for_what_is_near_to_none():
    assert "mean" not in problem({"zzz": 1})


@pytest.mark.parametrize("name", ["", "Doe^Jane", "a b", "x\n[GLIO-3101]", "é", "y" * 65, "\ud800"])
def test_a_name_that_is_not_a_plain_word_is_not_repeated(name):
    message = problem({name: "Doe^Jane"})
    assert f"of {len(name)} characters is unknown" in message
    assert "Doe" not in message
    assert message.isprintable()


@pytest.mark.parametrize("text", ["[]", "3", "null", "{", "nonsense", "[" * 100_000])
def test_text_of_another_form_is_refused(text):
    assert "must be a JSON object" in problem(text)


@pytest.mark.parametrize("value", [0, -1, 1_764_000_000, 10**14, 1_764_000_000_000_000])
def test_a_time_in_another_unit_is_refused(value):
    """Read in seconds every deadline would have passed, in microseconds none ever would."""
    assert "must be a time in milliseconds since 1970" in problem({"deadline_unix_ms": value})
