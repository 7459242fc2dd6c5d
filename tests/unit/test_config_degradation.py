"""Features, capabilities and rules of degradation in the configuration file."""

from dataclasses import replace

import pytest

from recovery.config.fleet import Fleet
from recovery.config.kinds import Kinds
from recovery.config.load import parse
from recovery.errors import ConfigurationError
from recovery.models import Level
from strategies import OPTIONS

NO_KINDS = Kinds(checks={}, drivers={}, strategies={})
STRATEGIES_ONLY = replace(NO_KINDS, strategies=OPTIONS)
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
    return parse(SERVICE + text, NO_KINDS, environ={}).fleet


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
        (
            rule(until="'health_score > 40'"),
            "[0].until: health_score > 40 must be on the other side of when (health_score < 50)",
        ),
        (
            rule(until="'health_score < 60'"),
            "[0].until: health_score < 60 must be on the other side of when (health_score < 50)",
        ),
        (rule(until="'change_rate > 60'"), "degradation[0].until: change_rate > 60 must be about health_score, like when"),
        (rule(until="'health_score > 100'"), "until: health_score > 100 can never hold: health_score is from 0 to 100"),
        (rule(when="'health_score < 0'"), "degradation[0].when: health_score < 0 can never hold: health_score is from 0 to 100"),
        (
            rule(when="'health_score <= 100'"),
            "[0].when: health_score <= 100 always holds (health_score is from 0 to 100), so",
        ),
        (rule(when="'open_recoveries > 1'"), "when: open_recoveries > 1 can never hold: open_recoveries is from 0 to 1"),
        (rule(when="'unhealthy_percent > 5'"), "degradation[0].when: unknown metric 'unhealthy_percent'"),
        (rule(untill="'health_score > 60'"), "degradation[0].untill: unknown key, did you mean 'until'?"),
        (rule(ttl="0"), "degradation[0].ttl: must be above 0, not 0"),
        (rule(**{"for": "-1"}), "degradation[0].for: must be at least 0, not -1"),
        (rule(ramp="[10]", ramp_stage="0"), "degradation[0].ramp_stage: must be above 0, not 0"),
        (rule(level="'emergancy'"), "degradation[0].level: 'emergancy' is not known, did you mean 'emergency'?"),
        (rule(service="'*'"), "degradation[0].service: '*' is not a valid name"),
        ("[features.facets]\noff_from = 'limted'", "features.facets.off_from: 'limted' is not known, did you mean 'limited'?"),
        ("[features.a]\n[features.a]", "the table [features.a] is declared twice"),
        (
            "[capabilities.workers]\npartial = 40\nemergency = 60",
            "4: capabilities.workers.emergency: leaves 60 percent where 'partial' leaves 40: a worse level must not leave more",
        ),
        ("[capabilities.workers]\nemergency = 50\nminimal = 40", "3: capabilities.workers.emergency: leaves 50 percent where 'minimal'"),
        (rule(service="'serch'"), "no service is called 'serch', did you mean 'search'?"),
        (rule(ramp="[50, 10]"), "degradation[0].ramp: must be rising percentages from 1 to 99"),
        (rule(ramp="[10, 10]"), "degradation[0].ramp: must be rising percentages from 1 to 99"),
        (rule(level="'normal'"), "'normal' degrades nothing"),
        (rule() + rule(), "a second rule is named 'weak'"),
    ],
)
def test_each_mistake_is_told_with_its_place(text: str, said: str) -> None:
    assert any(said in problem for problem in problems(text)), problems(text)


@pytest.mark.parametrize("levels", ["partial = 40\nemergency = 40", "limited = 0", "partial = 100\nminimal = 50\nemergency = 0"])
def test_a_worse_level_may_leave_as_much_or_less(levels: str) -> None:
    assert "workers" in read(f"[capabilities.workers]\n{levels}").capabilities


def test_a_rule_about_the_system_knows_its_own_metrics() -> None:
    text = rule(when="'open_recoveries > 1'", service="'search'").replace("service = 'search'\n", "")

    assert str(read(text).degradation[0].until_condition) == "open_recoveries < 0.9"


def test_a_service_that_is_no_name_is_told_without_a_word_about_its_metric() -> None:
    (problem,) = problems(rule(service="'*'", when="'change_rate > 50'"))

    assert "degradation[0].service" in problem


def test_a_rule_about_the_health_of_a_service_that_nobody_looks_at_is_warned_of() -> None:
    loaded = parse(SERVICE + rule() + rule(name="'open'", when="'open_recoveries > 0'"), NO_KINDS, environ={})

    told = [line for line in loaded.warnings if "degradation" in line]
    assert [line.split(": ", 1)[1] for line in told] == [
        "degradation[0].when: can never hold: search has no checks, so nobody knows its health_score"
    ]


# --- what remedies name ---

DECLARED = "[features.facets]\n[features.extras]\n[capabilities.workers]\n"
OF_SHOP = "[services.shop]\n[features.invoices]\nservice = 'shop'\n[capabilities.tills]\nservice = 'shop'\n"


def remedies(text: str) -> list[str]:
    """Return what is wrong with the remedies of `search`."""
    try:
        parse(SERVICE + text, STRATEGIES_ONLY, environ={})
    except ConfigurationError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "degrade]\nfeatures = ['facetz']",
            "degrade.features[0]: no feature is called 'facetz', did you mean 'facets'? (declared:",
        ),
        (
            "degrade]\ncapabilities = { worker = 10 }",
            "capabilities.worker: no capability is called 'worker', did you mean 'workers'?",
        ),
        ("throttle]\ncapability = 'wrokers'", "throttle.capability: no capability is called 'wrokers', did you mean 'workers'?"),
        (
            "degrade]\nfeatures = ['invoices']",
            "degrade.features[0]: feature 'invoices' is declared for shop: only the degradations of shop, and the system's, switch it off",
        ),
        (
            "degrade]\ncapabilities = { tills = 10 }",
            "capabilities.tills: capability 'tills' is declared for shop: only the degradations of shop, and the system's, limit it",
        ),
        ("throttle]\ncapability = 'tills'", "throttle.capability: capability 'tills' is declared for shop"),
        ("degrade]\nfeatures = ['facets', 'facets']", "degrade.features: 'facets' is named twice"),
        ("degrade]\nramp = [50, 10]", "degrade.ramp: must be rising percentages"),
        ("degrade]\nttl = 0", "degrade.ttl: must be above 0, not 0"),
        ("degrade]\nlevel = 'normal'", "degrade.level: 'normal' degrades nothing"),
    ],
)
def test_a_remedy_that_names_what_is_not_declared_or_makes_no_sense_is_told(text: str, said: str) -> None:
    (problem,) = remedies(DECLARED + OF_SHOP + "[services.search.remedies." + text)

    assert said in problem


def test_a_remedy_may_name_anything_while_nothing_is_declared_and_keep_its_defaults_in_any_case() -> None:
    assert remedies("[services.search.remedies.degrade]\nfeatures = ['a']\ncapabilities = { b = 1 }") == []
    assert remedies(DECLARED + "[services.search.remedies.throttle]\npercent = 20") == []
    assert remedies(DECLARED + "[services.search.remedies.degrade]\nfeatures = ['facets']\ncapabilities = { workers = 1 }") == []


def test_a_remedy_may_name_what_is_declared_for_its_own_service() -> None:
    assert remedies(OF_SHOP + "[services.shop.remedies.degrade]\nfeatures = ['invoices']\ncapabilities = { tills = 1 }") == []


@pytest.mark.parametrize("written", ["percent = 20", "percent = 20\ncapability = 'requests'"])
def test_a_default_that_nobody_declares_is_warned_of_written_out_or_not(written: str) -> None:
    read = parse(SERVICE + DECLARED + "[services.search.remedies.throttle]\n" + written, STRATEGIES_ONLY, environ={})

    place = "services.search.remedies.throttle.capability"
    assert any(f"{place}: no capability is called 'requests' (declared: workers)" in warning for warning in read.warnings)
