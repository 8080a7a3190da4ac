"""Kinds of series that are easily taken for what they are not: the right answer, offline and through the client.

The cases are those of ``benchmarks/series/cases.py``. One of each kind is at most long, the others are slow.
"""

import sys
from pathlib import Path

import pytest

from glioserve_dicom.read import read
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_phantom.clinical.series import files_of

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))  # its modules are scripts, no package
from series.answers import CLIENT, OFFLINE, RIGHT, deidentified, image_key, judged
from series.cases import AGENT_TEXTS, CASES

UNDECIDED = {"GLIO-1301", "GLIO-1302"}
EXPECTED = {
    "one acquisition saved twice, no agent: four sequences": UNDECIDED,
    "one acquisition saved twice, no agent: without t1ce": {"t1": "t1 3D", "t2": "t2", "flair": "flair"},
    "one acquisition saved twice, no agent: with agent": {"t1": "t1 3D", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "no agent, inflow: with reformat": UNDECIDED,
    "no agent, inflow: with nameless scout": UNDECIDED,
    "scout: 'AAHScout'": {"t1": "t1 2D", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "scout: 'AAHScout', no T1": UNDECIDED,
    "saved twice: t1": {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "saved twice: t1ce": {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "minus: 'T1 -Gd'": UNDECIDED,
    "minus: 'T1 -Gd' and +Gd": {"t1": "t1", "t1ce": "t1ce"},
    "Dixon: one series": {"t1": "mDIXON in phase", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "multi-echo: one series": {"t1": "MEMPRAGE RMS", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "multi-echo: no agent": UNDECIDED,
    "derived T1: words": {"t1": "t1", "t2": "t2", "flair": "flair"},
    "derived T1: timings": {"t1": "t1", "t2": "t2", "flair": "flair"},
    "functional groups: one item": {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "image types: IP and OP": {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "places: uneven by 15%": {"GLIO-1405"},
    "places: rounded to 0.1 mm": {"t1": "t1 3D", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
    "field map: with T1": {"t1": "t1", "t2": "t2", "flair": "flair"},
    "field map: without": UNDECIDED,
    "mosaic: UIH": {"GLIO-1211"},
    "anonymised: one UID a file": {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"},
}
"""The series of each sequence, by the name in the case; or the codes of which one has to refuse."""
AT_ONCE = ("no agent, inflow: with reformat", "minus: 'T1 -Gd'", "image types: IP and OP", "anonymised: one UID a file")
LONG = (
    "one acquisition saved twice, no agent: four sequences", "scout: 'AAHScout'", "saved twice: t1",
    "Dixon: one series", "multi-echo: one series", "derived T1: words", "functional groups: one item",
    "places: rounded to 0.1 mm", "field map: without",
)  # fmt: skip
"""Cases that, with :data:`AT_ONCE`, cover each kind; `make test` runs those alone, `.ci/run` these too."""
REST = [name for name in [*CASES, *AGENT_TEXTS] if name not in EXPECTED]


def _slow_but(quick, names, long=()):
    def marks(name):
        return () if name in quick else pytest.mark.long if name in long else pytest.mark.slow

    return [pytest.param(name, marks=marks(name)) for name in names]


@pytest.mark.parametrize("name", _slow_but(AT_ONCE, EXPECTED, LONG))
def test_the_right_answer(name):
    for outcome in judged(CASES[name]()):
        expected = EXPECTED[name]
        if isinstance(expected, set):
            assert outcome.code in expected, (outcome.way, outcome.chosen, outcome.detail)
        else:
            assert outcome.chosen == expected, (outcome.way, outcome.code, outcome.detail)


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_the_other_cases(name):
    offline, client = judged({**CASES, **AGENT_TEXTS}[name]())
    assert {offline.verdict, client.verdict} == {RIGHT}, (offline.detail or offline.chosen, client.detail)
    assert offline.preferred
    assert offline.same_as == client.same_as


TEXTS = {group: [name for name in AGENT_TEXTS if name.startswith(group)] for group in ("agent not", "agent unknown")}


@pytest.mark.parametrize("name", [names[0] for names in TEXTS.values()])
def test_a_text_that_names_no_agent_makes_no_t1ce(name):
    assert {o.code for o in judged(AGENT_TEXTS[name]())} <= UNDECIDED


TOLD_APART = [*(n for n in CASES if n.startswith("image types")), "Dixon: one series", "multi-echo: one series"]


@pytest.mark.parametrize("name", _slow_but(("image types: XYZ and ABC", "Dixon: one series"), TOLD_APART))
def test_the_client_sends_what_tells_stacks_apart(name):
    """The images of the study fall into the same stacks before and after the client has removed the patient."""
    case = CASES[name]()
    files, _ = files_of(case.name, case.series)
    parts = {}
    for way, given in ((OFFLINE, files), (CLIENT, deidentified(files))):
        instances = read(given, accept_identified=way == OFFLINE)
        parts[way] = {frozenset(image_key(f.dataset) for f in s.frames) for s in stacks_of(instances)}
    assert parts[OFFLINE] == parts[CLIENT]
    assert len(parts[OFFLINE]) >= len(case.series)
