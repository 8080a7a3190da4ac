"""Every alert of the chart, as the real Helm renders it: it fires, it stays quiet, and it leads to its runbook."""

import re
from itertools import groupby
from pathlib import Path

import promql_parser
import pytest
import yaml

from glioserve_contract.metrics import DCGM_METRICS, KUBE_METRICS, METRICS, TRITON_METRICS, Kind
from support.cluster.rules import FULLNAME, LABELS, POD, alerts, rendered_rules, rule_files
from support.prometheus import promtool

from .alert_cases import CASES

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
HEADINGS = ("What it means", "First look", "Likely causes", "What to do", "How to know that it is over")
pytestmark = pytest.mark.helm


@pytest.fixture(scope="module")
def rules():
    return rendered_rules()


def test_promtool_has_no_complaint(rules, tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_and_stays_quiet(rules, tmp_path):
    """All cases in one run of promtool, which names those that fail; each alert is evaluated for its own cases."""
    files = []
    for (name, step), cases in groupby(CASES, lambda case: (case.alert, case.step)):
        own = {"groups": [{"name": name, "rules": [alerts(rules)[name]]}]}
        rule_file, file = tmp_path / f"{name}.rules.yaml", tmp_path / f"{name}.{step}.yaml"
        rule_file.write_text(yaml.safe_dump(own))
        tests = [as_promtool_has_it(case) for case in cases]
        file.write_text(yaml.safe_dump({"rule_files": [str(rule_file)], "evaluation_interval": step, "tests": tests}))
        files.append(str(file))
    done = promtool("test", "rules", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def as_promtool_has_it(case):
    return {
        "name": f"{case.alert} {'fires' if case.fires else 'is quiet'} {case.why}".strip(),
        "interval": case.step,
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) > bool 0 or vector(0)',
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
            }
        ],
    }


def test_each_alert_has_both_kinds_of_case(rules):
    told = {(case.alert, case.fires) for case in CASES}
    assert told == {(name, fires) for name in alerts(rules) for fires in (True, False)}


def test_each_alert_says_how_bad_it_is_with_its_value_and_its_runbook(rules):
    for name, alert in alerts(rules).items():
        assert alert["labels"]["severity"] in ("critical", "warning"), name
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        if "absent(" not in alert["expr"]:
            assert "$value" in alert["annotations"]["summary"], name


def test_alerts_of_equal_releases_stay_apart(rules):
    """Alertmanager takes alerts with equal labels for one, and many expressions sum over pods and namespaces."""
    for name, alert in alerts(rules).items():
        of = {label: alert["labels"][label] for label in ("namespace", "release", "deployment")}
        assert of == {"namespace": "mri", "release": "rel", "deployment": FULLNAME}, name


def test_no_word_is_left_unreplaced(rules):
    assert re.findall(r"@\w+@", yaml.safe_dump(rules)) == []


def test_rules_that_look_at_kubernetes_are_in_the_table_too():
    idle = {
        "keda": {"enabled": True, "idleReplicas": 0, "prometheusAddress": "http://p", "triggers": [{"type": "cron"}]}
    }
    read = set(re.findall(r"\bkube_\w+", yaml.safe_dump(rendered_rules(idle))))
    assert read == set(KUBE_METRICS)


def test_runbooks_and_alerts_are_the_same(rules):
    pages = {page.stem for page in RUNBOOKS.glob("Glioserve*.md")}
    assert pages == set(alerts(rules))
    index = (RUNBOOKS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[\w+\]\((Glioserve\w+)\.md\)", index, re.MULTILINE)
    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("Glioserve*.md")), ids=lambda page: page.stem)
def test_a_runbook_has_its_five_parts(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}\n")
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    assert tuple(parts[1::2]) == HEADINGS
    assert all(len(body.split()) >= 8 for body in parts[2::2]), page.stem


SPAN = re.compile(r"`([^`]+)`")
PROGRAMS = ("kubectl", "helm", "glioserve")


def part_of(page: Path, heading: str) -> str:
    return page.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]


def is_query(text: str) -> bool:
    """Return whether it is a query of at least one metric of the table; a bare name is one too."""
    try:
        promql_parser.parse(text)
    except ValueError:
        return False
    return any(re.search(rf"\b{name}\b", text) for name in known_series())


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("Glioserve*.md")), ids=lambda page: page.stem)
def test_the_first_look_begins_with_what_can_be_run(page):
    """The first line is pasted at night, not read."""
    first = re.search(r"^- (.*?)(?=^- |\Z)", part_of(page, "First look"), re.MULTILINE | re.DOTALL)[1]
    span = SPAN.search(first)[1]
    assert span.startswith(PROGRAMS) or is_query(span), span


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("Glioserve*.md")), ids=lambda page: page.stem)
def test_that_it_is_over_is_a_query(page):
    queries = [span for span in SPAN.findall(part_of(page, "How to know that it is over")) if is_query(span)]
    assert queries
    for query in queries:
        aggregated = re.findall(r"\bby \(([^)]*)\)", query)
        assert all("namespace" in labels or "Hostname" in labels for labels in aggregated), query


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_commands_name_the_namespace_and_run_as_they_stand(page):
    text = page.read_text(encoding="utf-8")
    commands = re.findall(r"(?:^ *|[`|(] ?)((?:kubectl|helm) [^`|\n]*)", text, re.MULTILINE)
    for command in commands:
        assert '-n "$NAMESPACE"' in command or command.startswith("kubectl drain"), command
        assert set(re.findall(r"\$(\w+)", command)) <= {"NAMESPACE", "RELEASE", "DEPLOYMENT", "POD", "SECRET"}, command


def known_series():
    names = set(TRITON_METRICS) | set(DCGM_METRICS) | set(KUBE_METRICS)
    for metric in METRICS:
        histogram = metric.kind is Kind.HISTOGRAM
        names |= {metric.name + s for s in (("_bucket", "_count", "_sum") if histogram else ("",))}
    return names


@pytest.mark.parametrize("file", [*rule_files(), *sorted(RUNBOOKS.glob("*.md"))], ids=lambda file: file.stem)
def test_every_metric_that_is_named_is_in_the_table(file):
    names = re.findall(r"\b(?:glioserve|nv|DCGM|kube)_\w+", file.read_text(encoding="utf-8"))
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_series()}
    assert [name for name in names if name not in known_series() | bare] == []


def test_thresholds_and_the_runbooks_place_are_a_sites_own():
    own = {
        "runbookUrl": "https://wiki.example/runbooks/",
        "thresholds": {"latencySeconds": 20, "availability": 0.995, "queuedStudies": 3},
    }
    found = alerts(rendered_rules({"metrics": {"prometheusRule": own}, "stages": {"timeoutSeconds": 100}}))
    assert r'le=~"20(\\.0)?"' in found["GlioserveLatencyBurnFast"]["expr"]
    assert "20 s" in found["GlioserveLatencyBurnFast"]["annotations"]["summary"]
    assert "(1 - 0.995)" in found["GlioserveAvailabilityBurnSlow"]["expr"]
    assert found["GlioserveQueueGrowing"]["expr"].endswith("> 3")
    assert found["GlioserveStageHangs"]["expr"].endswith("> 80")
    runbook = found["GlioserveRejects"]["annotations"]["runbook_url"]
    assert runbook == "https://wiki.example/runbooks/GlioserveRejects.md"


def test_a_summary_reads_as_a_sentence(rules, tmp_path):
    """One alert, rendered whole by promtool: labels, value and pages."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    alert = {
        "eval_time": "10m",
        "alertname": "GlioserveMemoryNearLimit",
        "exp_alerts": [
            {
                "exp_labels": {
                    "severity": "warning",
                    "namespace": "mri",
                    "release": "rel",
                    "deployment": FULLNAME,
                    "pod": POD,
                },
                "exp_annotations": {
                    "summary": f"{POD} uses 95% of its memory",
                    "runbook_url": "docs/runbooks/GlioserveMemoryNearLimit.md",
                },
            }
        ],
    }
    series = [
        {"series": f"glioserve_memory_bytes{{{LABELS}}}", "values": "95x10"},
        {"series": f"glioserve_memory_limit_bytes{{{LABELS}}}", "values": "100x10"},
    ]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [alert]}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
