"""Whole situations under all rules at once: what must ring rings, and nothing else does."""

import json
from pathlib import Path

import pytest
import yaml

from support.cluster.rules import rendered_rules
from support.prometheus import promtool

from .situations import REPLICAS, SITUATIONS, Situation, read_by

pytestmark = pytest.mark.helm


LONG_MIN = 6 * 60
"""Situations that last longer are examined with the long tests."""


def marks_of(situation: Situation) -> list[pytest.MarkDecorator]:
    """Return the mark of those whose many pods or hours take long."""
    return [pytest.mark.long] if len(situation.pods()) > 10 or situation.at > LONG_MIN else []


@pytest.fixture(scope="module")
def rules_of(tmp_path_factory: pytest.TempPathFactory):
    """Rules by the chart's values, each rendered once."""
    made: dict[str, tuple[Path, set[str]]] = {}

    def rendered(values):
        key = json.dumps(values, sort_keys=True)
        if key not in made:
            rules = rendered_rules(values)
            file = tmp_path_factory.mktemp("rules") / "rules.yaml"
            file.write_text(yaml.safe_dump(rules))
            made[key] = file, read_by(rules)
        return made[key]

    return rendered


@pytest.mark.parametrize("situation", [pytest.param(s, id=s.name, marks=marks_of(s)) for s in SITUATIONS])
def test_what_must_ring_rings_and_nothing_else(situation, rules_of, tmp_path):
    rules, read = rules_of(situation.values)
    series = [s for pod in situation.pods() for s in pod.series(read).items()]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in (*series, *situation.others.items())],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{situation.at}m",
                "exp_samples": [
                    {"labels": f'{{alertname="Glioserve{name}"}}', "value": 1} for name in sorted(situation.fires)
                ],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pod_has_every_series_that_the_rules_read(rules_of):
    """A rule that reads a metric that no pod here has would be quiet in every situation."""
    _, read = rules_of({})
    (pod,) = SITUATIONS[0].pods()
    names = {name.partition("{")[0] for name in pod.series(read)}
    assert {name for name in read if not name.startswith("DCGM")} == names
    assert read_by({"groups": [{"rules": [{"expr": REPLICAS}]}]}) == {"kube_deployment_spec_replicas"}
