"""The table of errors, the classes made from it and the text that carries one."""

import copy
import json
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError, Retry, Status, find_code, read_message
from glioserve_contract.errors import base, classes
from glioserve_contract.errors.messages import ACTION_MARK
from glioserve_contract.metrics import SERVER_CODES, outcome_of
from glioserve_contract.records.manifest import parse_manifest
from glioserve_triton.gateway.answers import local_replies

FAMILY_OF_HUNDRED = {
    "11": base.RequestError,
    "12": base.DicomFileError,
    "13": base.SeriesError,
    "14": base.SliceGeometryError,
    "15": base.RegistrationError,
    "16": base.BrainError,
    "17": base.IntensityError,
    "21": base.ModelAnswerError,
    "31": base.ServerError,
    "41": base.TransportError,
    "42": base.PacsError,
    "51": base.SetUpError,
}
every_code = pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)


def class_name(code: ErrorCode) -> str:
    return "".join(word.capitalize() for word in code.name.split("_")) + "Error"


# The table

ROOT = Path(__file__).resolve().parents[2]


def test_tokens_are_unique_and_well_formed():
    tokens = [code.token for code in ErrorCode]
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch(r"GLIO-[1-5]\d{3}", token) for token in tokens)
    assert tokens == sorted(tokens)


@every_code
def test_every_row_says_what_it_is_and_what_to_do(code):
    for text in (code.row.summary, code.row.action):
        assert re.fullmatch(r"[A-Z`].{15,}\.", text), text
        assert ACTION_MARK not in text


def test_a_studys_own_fault_is_refused_and_never_worth_a_blind_retry():
    for code in SERVER_CODES:
        if outcome_of(code) == "refused":
            assert code.row.status is Status.INVALID_ARG
            assert code.row.retry is not Retry.YES


def test_outcomes():
    assert outcome_of(ErrorCode.NOT_DICOM) == "refused"
    assert outcome_of(ErrorCode.INTERNAL) == "failed"
    assert outcome_of(ErrorCode.UNKNOWN_MODEL) == "failed"
    assert outcome_of(ErrorCode.CANCELLED) == "cancelled"


# The classes


@every_code
def test_a_code_is_raised_as_its_own_class(code):
    error = GlioserveError(code, "What was found.")
    assert type(error).__name__ == class_name(code)
    assert type(error) is getattr(classes, class_name(code)) is type(type(error)(code))
    assert type(error).__bases__ == (FAMILY_OF_HUNDRED[code.token[5:7]],)
    assert isinstance(error, base.StudyError) == code.token.startswith("GLIO-1")
    assert (error.code, error.token) == (code, code.token)
    assert (error.detail, error.action) == ("What was found.", code.row.action)
    assert error.retryable == (code.row.retry is Retry.YES)
    assert str(error) == f"[{code.token}] What was found. What to do: {code.row.action}"
    assert error.args == (str(error),)
    assert type(error).__doc__ == f"{code.token}: {code.row.summary} {code.row.action}"


def test_the_default_detail_is_the_tables_summary():
    assert GlioserveError(ErrorCode.NOT_MR).detail == ErrorCode.NOT_MR.row.summary


def test_a_family_makes_its_own_codes_and_refuses_others():
    assert type(base.DicomFileError(ErrorCode.NOT_MR)) is classes.NotMrError
    for wrong in (base.SetUpError, classes.NotDicomError, classes.GateRefusedError):
        with pytest.raises(TypeError, match=r"NOT_MR belongs to NotMrError, which is not a "):
            wrong(ErrorCode.NOT_MR)


def test_a_class_of_a_callers_own_stays_what_it_is():
    class OursError(classes.NotMrError):
        pass

    assert type(OursError(ErrorCode.NOT_MR)) is OursError
    assert type(GlioserveError(ErrorCode.NOT_MR)) is classes.NotMrError


def test_init_runs_once(monkeypatch):
    calls = []
    whole = GlioserveError.__init__
    monkeypatch.setattr(GlioserveError, "__init__", lambda self, *given: calls.append(given) or whole(self, *given))
    GlioserveError(ErrorCode.NOT_MR, "No MR image.")
    assert calls == [(ErrorCode.NOT_MR, "No MR image.")]


def test_a_cause_stays():
    with pytest.raises(classes.InvalidManifestError) as caught:
        parse_manifest(b"{")
    assert isinstance(caught.value.__cause__, ValueError)


def _error() -> GlioserveError:
    error = GlioserveError(ErrorCode.UNAVAILABLE, "No server.", "Start one.", "GLIO-4199")
    error.request_id, error.attempts, error.path = "abc", 3, Path("a")
    error.__notes__ = ["a note"]
    return error


def parts(error):
    return (
        *(type(error), str(error), error.code, error.detail, error.action, error.token, error.retryable),
        *(error.request_id, error.attempts, error.path, error.__notes__),
    )


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_a_pickle(protocol):
    assert parts(pickle.loads(pickle.dumps(_error(), protocol))) == parts(_error())


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_an_error_survives_a_copy(way):
    assert parts(way(_error())) == parts(_error())


def test_an_error_survives_the_way_between_processes():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert parts(pool.submit(pickle.loads, pickle.dumps(_error())).result()) == parts(_error())
        with pytest.raises(classes.InvalidManifestError) as caught:
            pool.submit(parse_manifest, b"no JSON").result()
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


# A token that the table lacks


@pytest.mark.parametrize(
    ("token", "family"),
    [
        ("GLIO-1299", base.DicomFileError),
        ("GLIO-1999", base.StudyError),
        ("GLIO-2201", base.ModelAnswerError),
        ("GLIO-3199", base.ServerError),
        ("GLIO-4999", base.TransportError),
        ("GLIO-5299", base.SetUpError),
        ("GLIO-9999", GlioserveError),
    ],
)
def test_an_unknown_token_is_of_its_family(token, family):
    error = GlioserveError(ErrorCode.UNAVAILABLE, "Something new.", "Wait.", token)
    assert type(error) is family
    assert str(error) == f"[{token}] Something new. What to do: Wait."
    assert (error.token, error.code, error.retryable) == (token, ErrorCode.UNAVAILABLE, True)


# The text


@every_code
def test_a_code_is_found_behind_an_ensembles_prefix(code):
    assert find_code(f"in ensemble 'glioma', {GlioserveError(code)}") is code


@pytest.mark.parametrize("message", ["", "GLIO-9999", "GLIO-12", "GLIO-12019", "some other error"])
def test_no_code_is_no_code(message):
    assert find_code(message) is None


@every_code
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("in ensemble 'glioma', ", ""), ('upstream: "', '" (request 7, 502)')]
)
def test_a_message_is_read_back_whatever_is_around_it(code, before, after):
    error = GlioserveError(code, "Found: t1, t2.")
    assert read_message(f"{before}{error}{after}") == (code.token, code, "Found: t1, t2.", code.row.action)


@every_code
def test_a_message_without_the_mark_is_read_back_where_its_action_is_known(code):
    older = f"in ensemble 'glioma', [{code.token}] Found: t1, t2. {code.row.action} (502)"
    assert read_message(older) == (code.token, code, "Found: t1, t2.", code.row.action)


def test_an_older_action_stays_in_the_finding():
    older = "[GLIO-1304] Series 2.25.1 is not there. An older piece of advice."
    detail = "Series 2.25.1 is not there. An older piece of advice."
    assert read_message(older) == ("GLIO-1304", ErrorCode.UNKNOWN_SERIES, detail, "")


def test_a_later_action_is_the_servers():
    later = "[GLIO-1304] Series 2.25.1 is not there. What to do: A later piece of advice."
    assert read_message(later)[2:] == ("Series 2.25.1 is not there.", "A later piece of advice.")


def test_an_error_quoted_whole_stays_in_the_finding():
    inner = str(GlioserveError(ErrorCode.SERVER_FAILED, "It ended."))
    outer = GlioserveError(ErrorCode.PROMOTION_UNDONE, f"Version 4: {inner}")
    assert read_message(str(outer)) == ("GLIO-5123", ErrorCode.PROMOTION_UNDONE, outer.detail, outer.action)


def test_an_unknown_token_is_read():
    assert read_message("x [GLIO-1999] New. What to do: That.") == ("GLIO-1999", None, "New.", "That.")
    assert read_message("x [GLIO-1999] New.") == ("GLIO-1999", None, "New.", "")
    assert read_message("no token") is None


def test_the_page_says_which_codes_come_over_the_wire():
    """Server: what its packages raise. Gateway: what it is configured to say. The rest is the client's or a tool's."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = page.partition("## Which codes come over the wire")[2].partition("\n## ")[0].splitlines()[4:]
    server, gateway, client, tools = (set(re.findall(r"GLIO-\d{4}", row)) for row in rows)
    families = ("GLIO-11", "GLIO-12", "GLIO-13", "GLIO-14", "GLIO-15", "GLIO-16", "GLIO-17")
    server |= {code.token for code in ErrorCode if code.token.startswith(families)}
    server -= {ErrorCode.PROVENANCE_MISMATCH.token}  # "but GLIO-1704"
    assert server == {code.token for code in SERVER_CODES} - {"GLIO-1704", "GLIO-3103"}
    replies = json.dumps(local_replies(1 << 20, 60))
    assert gateway == set(re.findall(r"GLIO-\d{4}", replies))
    others = {code.token for code in ErrorCode if code.token < "GLIO-42"} - server - gateway - tools
    assert client == {token for token in others if not token.startswith("GLIO-41")}  # "and the other 41xx"
    assert tools == {"GLIO-1704"}
