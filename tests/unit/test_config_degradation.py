"""Features, capabilities and rules of degradation in the configuration file."""

import pytest

from recovery.config.fleet import Fleet
from recovery.config.kinds import Kinds
from recovery.config.load import parse
from recovery.errors import ConfigurationError
from recovery.models import Level

SERVICE = "[services.search]\n"
RULE = """\
[[degradation]]
name = "weak-search"
service = "search"
when = "health_score < 50"
for = 30
until = "health_score > 65"
level = "emergency"
ramp = [10, 50]
"""


def read(text: str) -> Fleet:
    return parse(SERVICE + text, Kinds(checks={}, drivers={}, strategies={}), environ={}).fleet


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return list(caught.value.problems)


def rule(**changes: str) -> str:
    lines = {"name": "'weak'", "service": "'search'", "when": "'health_score < 50'", "level": "'limited'"} | changes
    return "[[degradation]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def test_features_capabilities_and_rules_are_read() -> None:
    fleet = read("[features.facets]\npriority = 20\nservice = 'search'\n[capabilities.workers]\nlimited = 50\n" + RULE)

    assert (fleet.features["facets"].priority, fleet.features["facets"].service) == (20, "search")
    assert fleet.capabilities["workers"].at(Level.LIMITED) == 50
    (weak,) = fleet.degradation
    assert (weak.lasting, weak.calm, weak.ttl, weak.ramp, weak.level) == (30, 60, 900, (10, 50), Level.EMERGENCY)
    assert (str(weak.condition), str(weak.until_condition)) == ("health_score < 50", "health_score > 65")


def test_a_rule_without_until_lets_go_a_tenth_beyond() -> None:
    (weak,) = read(rule()).degradation

    assert str(weak.until_condition) == "health_score > 55"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[features]]\nname = 'a'", "2: features: must be a table"),
        ("[features.facets]\npriority = 0", "3: features.facets.priority: must be at least 1, not 0"),
        ("[features.facets]\noff_from = 'normal'", "features.facets.off_from: 'normal' degrades nothing"),
        ("[features.facets]\nservice = 'serch'", "3: features.facets.service: no service is called 'serch', did you mean 'search'?"),
        ("[capabilities.workers]\npartail = 50", "3: capabilities.workers.partail: unknown key, did you mean 'partial'?"),
        ("[capabilities.workers]\npartial = 101", "3: capabilities.workers.partial: must be at most 100, not 101"),
        ("[degradation]\nname = 'a'", "2: degradation: must be a list of tables: write [[degradation]] with two brackets"),
        (rule(when="'helth_score < 50'"), "unknown metric 'helth_score', did you mean 'health_score'?"),
        (rule(when="'health_score is bad'"), "must be a metric, one of < <= > >=, and a number, such as 'health_score < 50'"),
        (rule(until="'health_score > 40'"), "until (health_score > 40) must be on the other side of when (health_score < 50)"),
        (rule(service="'serch'"), "no service is called 'serch', did you mean 'search'?"),
        (rule(ramp="[50, 10]"), "must be rising percentages from 1 to 99"),
        (rule(level="'normal'"), "'normal' degrades nothing"),
        (rule() + rule(), "a second rule is named 'weak'"),
    ],
)
def test_each_mistake_is_told_with_its_place(text: str, said: str) -> None:
    assert any(said in problem for problem in problems(text)), problems(text)
