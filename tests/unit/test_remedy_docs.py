"""What docs/strategies.md and docs/drivers.md show can be declared as it stands, and names every option there is."""

import re
from pathlib import Path

import pytest

from recovery.config.kinds import Kinds
from recovery.config.load import parse
from strategies import OPTIONS, STRATEGIES
from strategies.drivers import DRIVERS

DOCS = Path(__file__).parents[2] / "docs"
KINDS = Kinds(
    checks={},
    drivers={name: kind.options for name, kind in DRIVERS.items()},
    strategies=OPTIONS,
    refuses={name: strategy.refuses for name, strategy in STRATEGIES.items()},
)
EXAMPLES = [
    (page, text)
    for page in ("strategies.md", "drivers.md")
    for text in re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_every_example_is_valid(page: str, text: str) -> None:
    loaded = parse(text, KINDS, file=page)

    assert loaded.fleet.services
    assert [warning for warning in loaded.warnings if "has no checks" not in warning] == []


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_option_of_a_strategy_is_explained(name: str) -> None:
    section = (DOCS / "strategies.md").read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]

    assert [option for option in OPTIONS[name].model_fields if f"`{option}`" not in section] == []


@pytest.mark.parametrize("name", list(DRIVERS))
def test_every_option_of_a_driver_is_explained(name: str) -> None:
    section = (DOCS / "drivers.md").read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]

    assert [option for option in DRIVERS[name].options.model_fields if f"`{option}`" not in section] == []
