"""The starter file of `recovery init`: what is written works, and so does every example in its comments."""

import re
from pathlib import Path

import pytest

import workers
from recovery.config.kinds import Kinds
from recovery.config.load import parse
from recovery.detect.checks import check_kinds
from recovery.errors import ConfigurationError
from strategies import STRATEGIES
from strategies.drivers import DRIVERS

STARTER = (Path(workers.__file__).parent / "starter.toml").read_text()
EXAMPLES = re.sub(r"(?m)^#(?=\S)", "", STARTER)


@pytest.fixture
def kinds() -> Kinds:
    return Kinds.of(check_kinds(), DRIVERS, STRATEGIES)


def test_it_is_valid_without_a_warning_as_it_is(kinds: Kinds) -> None:
    loaded = parse(STARTER, kinds, environ={})

    assert list(loaded.fleet.services) == ["hello"]
    assert loaded.warnings == ()


def test_all_its_examples_are_valid_without_a_warning(kinds: Kinds) -> None:
    loaded = parse(EXAMPLES, kinds, environ={})

    assert len(loaded.fleet.services) > 5
    assert loaded.warnings == ()


def test_it_shows_every_check_driver_and_nearly_every_remedy(kinds: Kinds) -> None:
    services = parse(EXAMPLES, kinds, environ={}).fleet.services.values()

    assert {check.kind for service in services for check in service.checks} == set(kinds.checks)
    assert {service.driver.kind for service in services if service.driver} == set(kinds.drivers)
    assert {remedy for service in services for remedy in service.remedies} == set(kinds.strategies) - {"reload"}


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ('probe = ["shop.http"]', 'probe = ["shop.http", "shop.htp"]', "circuit_reset.probe[1]"),
        ('url = "http://standby:9200"', 'url = "http://standby:9200", check = "shop.htp"', "backup_fallback.endpoints[0].check"),
        ("ttl = 900", 'verify = ["shop.htp"]', "degrade.verify[0]"),
    ],
)
def test_a_remedy_that_names_an_unknown_check_is_refused(kinds: Kinds, right: str, wrong: str, place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(EXAMPLES.replace(right, wrong), kinds, environ={})

    (problem,) = caught.value.problems
    assert f"remedies.{place}: no check is called 'shop.htp', did you mean 'shop.http'?" in problem
