"""The configuration file: what is accepted, and how each mistake is told."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from recovery.config.kinds import Kinds
from recovery.config.load import Loaded, load, parse
from recovery.errors import ConfigurationError
from recovery.models import Category


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpOptions(Options):
    url: str
    expect: int | tuple[int, ...] = 200
    password: SecretStr | None = None


class TcpOptions(Options):
    port: Annotated[int, Field(ge=1, le=65_535)]


class ProcessOptions(Options):
    command: tuple[str, ...]
    pidfile: Path
    cwd: Path = Path()
    files: tuple[Path, ...] = ()


class RestartOptions(Options):
    stop_timeout: Annotated[float, Field(gt=0)] = 10.0


KINDS = Kinds(
    checks={"http": HttpOptions, "tcp": TcpOptions, "memory": Options},
    drivers={"process": ProcessOptions},
    strategies={"restart": RestartOptions, "degrade": Options},
    intervals={"memory": 30.0},
    refuses={"restart": lambda service, _category: None if service.driver else "it has no driver"},
)

GOOD = """\
[platform]
cooldown = 30
[services.cache]
[[services.cache.checks]]
type = "tcp"
port = 6379
[services.shop]
depends_on = ["cache"]
plan = { service_unavailable = ["restart", "degrade"] }
cooldown = { restart = 10 }
  [services.shop.driver]
  type = "process"
  command = ["python", "shop.py"]
  pidfile = "run/shop.pid"
  [[services.shop.checks]]
  type = "http"
  url = "http://127.0.0.1:8080/health"
  interval = 2
  fall = 1
  [[services.shop.checks]]
  type = "memory"
  [services.shop.remedies.restart]
  stop_timeout = 5
"""


def read(text: str, **environ: str) -> Loaded:
    return parse(text, KINDS, folder=Path("/etc/fleet"), environ=environ)


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, **environ)
    return list(caught.value.problems)


def window(keys: str) -> str:
    return f"[[maintenance]]\nname = 'night'\n{keys}\n"


def service(lines: str) -> str:
    return f"[services.shop]\n{lines}\n"


def check(lines: str) -> str:
    return f'[[services.shop.checks]]\ntype = "http"\nurl = "http://x"\n{lines}\n'


def test_a_valid_file_becomes_a_fleet() -> None:
    fleet = read(GOOD).fleet

    shop = fleet.services["shop"]
    assert fleet.platform.cooldown == 30
    assert shop.depends_on == ("cache",)
    assert shop.plan == {Category.SERVICE_UNAVAILABLE: ("restart", "degrade")}
    assert shop.remedies == {"restart": {"stop_timeout": 5}}
    assert fleet.cooldown("shop", "restart") == 10
    assert len(fleet.version) == 12


def test_keys_of_a_check_are_split_into_common_ones_and_options_of_its_kind() -> None:
    http = read(GOOD).fleet.services["shop"].checks[0]

    assert (http.name, http.kind, http.interval, http.fall) == ("http", "http", 2, 1)
    assert http.options == {"url": "http://127.0.0.1:8080/health"}


def test_interval_and_timeout_default_to_the_kind_and_to_five_seconds_or_the_interval() -> None:
    http, memory = read(GOOD).fleet.services["shop"].checks

    assert (http.interval, http.timeout) == (2, 2)
    assert (memory.interval, memory.timeout) == (30, 5)


def test_the_version_changes_with_the_text() -> None:
    assert read(GOOD).fleet.version == read(GOOD).fleet.version
    assert read(GOOD).fleet.version != read(GOOD + "# a word more\n").fleet.version


def test_relative_paths_and_relative_defaults_start_at_the_folder_of_the_file() -> None:
    text = GOOD.replace('pidfile = "run/shop.pid"', 'pidfile = "../run/shop.pid"\nfiles = ["a", "/b", "~nobody-of-this-name/c"]')

    driver = read(text).fleet.services["shop"].driver

    assert driver is not None
    assert driver.options["pidfile"] == "/etc/run/shop.pid"
    assert driver.options["cwd"] == "/etc/fleet"
    assert driver.options["files"] == ["/etc/fleet/a", "/b", "/etc/fleet/~nobody-of-this-name/c"]
    assert driver.options["command"] == ["python", "shop.py"]


def test_a_file_is_read_with_its_own_folder_and_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "recovery.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    driver = load(file, KINDS).fleet.services["shop"].driver

    assert driver is not None
    assert driver.options["pidfile"] == str(tmp_path / "run/shop.pid")


def test_environment_variables_are_filled_in() -> None:
    text = check('password = "${PASSWORD}"\nname = "a-${HOST:-here}-b"')

    found = read(text, PASSWORD="s3cret", HOST="").fleet.services["shop"].checks[0]

    assert found.options["password"] == "s3cret"
    assert found.name == "a-here-b"


def test_a_doubled_dollar_is_a_literal_one() -> None:
    assert read(service('description = "costs $5, $${NOT_ME}"')).fleet.services["shop"].description == "costs $5, ${NOT_ME}"


def test_a_reference_may_stand_for_a_number() -> None:
    text = '[[services.shop.checks]]\ntype = "tcp"\nport = "${PORT}"\ninterval = "${EVERY:-3}"'

    found = read(text, PORT="8080").fleet.services["shop"].checks[0]

    assert found.options == {"port": 8080}
    assert found.interval == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[services", "1: not valid TOML: expected ']' at the end of a table declaration (at the end of the file)"),
        ("a = 1\nb = = 2", "2: not valid TOML: invalid value (column 5)"),
        ("[services.a]\n[services.a]", "2: not valid TOML: the table [services.a] is declared twice (column 12)"),
        ("[platform]\nlease = 1\nlease = 2\n", "3: not valid TOML: a key is set twice (column 10)"),
        (
            "[service.a]",
            (
                "1: service: unknown table or key, did you mean 'services'? "
                "(known: capabilities, degradation, features, maintenance, platform, services)"
            ),
        ),
        ("x = '1'", "1: x: unknown table or key (known: capabilities, degradation, features, maintenance, platform, services)"),
        ("[platform]\ncooldwn = 3", "2: platform.cooldwn: unknown key, did you mean 'cooldown'?"),
        ("platform = 3", "1: platform: must be a table"),
        ("services = []", "1: services: must be a table"),
        ("[services]\nshop = 1", "2: services.shop: must be a table: write [services.shop]"),
        (service("depend_on = []"), "2: services.shop.depend_on: unknown key, did you mean 'depends_on'?"),
        (service("name = 'x'"), "2: services.shop.name: unknown key: a service is named by its table, [services.shop]"),
        (service("managed = 'yes'"), "2: services.shop.managed: must be true or false, not the text 'yes'"),
        (service("max_attempts = 1.5"), "2: services.shop.max_attempts: must be a whole number, not 1.5"),
        (service("max_attempts = 0"), "2: services.shop.max_attempts: must be at least 1, not 0"),
        (service("verify_timeout = 0"), "2: services.shop.verify_timeout: must be above 0, not 0"),
        (service("healthy_for = 1979-05-27"), "2: services.shop.healthy_for: must not be a date or time: put it in quotes"),
        (service("healthy_for = inf"), "2: services.shop.healthy_for: must be a finite number of at most 64 bits"),
        (service("checks = 1"), "2: services.shop.checks: must be a list of tables: write [[services.NAME.checks]] with two brackets"),
        (service("checks = [1]"), "2: services.shop.checks[0]: must be a table"),
        (service("driver = 1"), "2: services.shop.driver: must be a table"),
        (service("depends_on = 'cache'"), "2: services.shop.depends_on: must be a list, not the text 'cache'"),
        (
            "['services'.'a b']",
            "1: services.\"a b\": 'a b' is not a valid name: 1 to 100 letters, digits, '_', '.' or '-', beginning with a letter or digit",
        ),
        (check("intervall = 5"), "4: services.shop.checks[0].intervall: unknown key, did you mean 'interval'?"),
        (check("exspect = 5"), "4: services.shop.checks[0].exspect: unknown key, did you mean 'expect'?"),
        (check("interval = '5'"), "4: services.shop.checks[0].interval: must be a number, not the text '5'"),
        (check("interval = 0.5"), "4: services.shop.checks[0].interval: must be at least 1, not 0.5"),
        (check("interval = 5\ntimeout = 6"), "5: services.shop.checks[0].timeout: 6 s is longer than the interval of 5 s"),
        (check("category = 'cashe'"), "4: services.shop.checks[0].category: 'cashe' is not known, did you mean 'cache'?"),
        (check("expect = 'ok'"), "4: services.shop.checks[0].expect: must be a whole number or a list, not the text 'ok'"),
        (check("expect = [200, 'ok']"), "4: services.shop.checks[0].expect[1]: must be a whole number, not the text 'ok'"),
        (
            "[[services.a.checks]]\ntype = 'htp'",
            "2: services.a.checks[0].type: unknown check type 'htp', did you mean 'http'? (known: http, memory, tcp)",
        ),
        ("[[services.a.checks]]\nport = 1", "1: services.a.checks[0].type: is required, but missing"),
        ("[[services.a.checks]]\ntype = 'http'", "1: services.a.checks[0].url: is required, but missing"),
        ("[[services.a.checks]]\ntype = 'tcp'\nport = 0", "3: services.a.checks[0].port: must be at least 1, not 0"),
        (
            "[services.a.driver]\ntype = 'proces'",
            "2: services.a.driver.type: unknown driver type 'proces', did you mean 'process'? (known: process)",
        ),
        ("[services.a.remedies.restrt]", "1: services.a.remedies.restrt: unknown strategy 'restrt', did you mean 'restart'?"),
        (
            "[services.a.remedies.restart]\nstop_timout = 1",
            "2: services.a.remedies.restart.stop_timout: unknown key, did you mean 'stop_timeout'?",
        ),
        (service("remedies = { restart = 1 }"), "2: services.shop.remedies.restart: must be a table"),
        (service("cooldown = { restat = 1 }"), "2: services.shop.cooldown.restat: unknown strategy 'restat', did you mean 'restart'?"),
        (
            service("plan = { unknown = ['degrade', 'reboot'] }"),
            "2: services.shop.plan.unknown[1]: unknown strategy 'reboot', did you mean",
        ),
        (service("plan = { unknow = ['degrade'] }"), "2: services.shop.plan.unknow: 'unknow' is not known, did you mean 'unknown'?"),
        (
            service("depends_on = ['cach']\n[services.cache]"),
            "2: services.shop.depends_on[0]: no service is called 'cach', did you mean 'cache'?",
        ),
        (service("depends_on = ['b', 'b']\n[services.b]"), "2: services.shop.depends_on[1]: 'b' is named twice"),
        (service("autonomy = 'ask'"), "2: services.shop.autonomy: 'ask' is not known (known: approve, auto, observe, suggest)"),
        (service("approve = ['restat']"), "2: services.shop.approve[0]: unknown strategy 'restat', did you mean 'restart'?"),
        ("[platform.budget]\npercnt = 10", "2: platform.budget.percnt: unknown key, did you mean 'percent'?"),
        ("[maintenance]\nname = 'a'", "1: maintenance: must be a list of tables: write [[maintenance]] with two brackets"),
        (window("at = '02:00'"), "1: maintenance[0]: at and duration go together"),
        (window("starts = '2026-11-30T02:00:00Z'"), "1: maintenance[0]: starts and ends go together"),
        (window(""), "1: maintenance[0]: give either starts and ends (once), or at and duration (again and again)"),
        (window("at = '25:00'\nduration = 60"), "3: maintenance[0].at: must be a time of day, like '02:00', not the text '25:00'"),
        (window("at = '02:00+01:00'\nduration = 60"), "1: maintenance[0]: at is a time of day without an offset"),
        (
            window("starts = '2026-11-30T02:00:00'\nends = '2026-12-01T02:00:00Z'"),
            "3: maintenance[0].starts: must be a moment with its offset",
        ),
        (window("starts = '2026-11-30T02:00:00Z'\nends = '2026-11-30T02:00:00Z'"), "1: maintenance[0]: ends must be later than starts"),
        (
            window("at = '02:00'\nduration = 60\ntimezone = 'Europe/Berln'"),
            "5: maintenance[0].timezone: 'Europe/Berln' is no known time zone",
        ),
        (window("at = '02:00'\nduration = 60\ndays = ['son']"), "5: maintenance[0].days[0]: 'son' is not known, did you mean 'sun'?"),
        (
            window("at = '02:00'\nduration = 60\nservices = ['shp']") + "[services.shop]",
            "5: maintenance[0].services[0]: no service is called 'shp'",
        ),
        (
            window("at = '02:00'\nduration = 60\nlabels = {team = 'paymens'}") + "[services.shop]\nlabels = {team = 'payments'}",
            "5: maintenance[0].labels: covers nothing: no service bears team=paymens, did you mean 'team=payments'?",
        ),
        (
            window("at = '02:00'\nduration = 60\nservices = ['shop']\nlabels = {team = 'a', tier = '1'}")
            + "[services.shop]\nlabels = {team = 'a'}\n[services.cache]\nlabels = {tier = '1'}",
            "6: maintenance[0].labels: covers nothing: no service bears team=a and tier=1",
        ),
        (
            "[platform]\nflap_high = 20",
            "1: platform: flap_low (25) must not be above flap_high (20): flapping begins at the one and ends below the other, so set both",
        ),
        ("[platform]\napprovers = ['ada', ' ']", "2: platform.approvers[1]: must be a person's name, not an empty text"),
        (window("at = '02:00'\nduration = 60") * 2, "6: maintenance[1].name: a second window is named 'night'"),
        (service("description = '${NO_SUCH}'"), "2: services.shop.description: the environment variable NO_SUCH is not set"),
        (service("description = '${1x}'"), "2: services.shop.description: '${1x}' is no reference"),
    ],
)
def test_a_mistake_is_told_with_line_path_and_the_nearest_right_name(text: str, expected: str) -> None:
    found = problems(text)

    assert len(found) == 1
    assert found[0].startswith(f"recovery.toml:{expected}")


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines() -> None:
    text = check("intervall = 5") + check("name = 'second'\nfall = 0") + "[services.web]\ndepends_on = ['shp']\n[platform]\nlease = 0\n"

    found = problems(text)

    assert [line.split(": ")[1] for line in found] == [
        "services.shop.checks[0].intervall",
        "services.shop.checks[1].fall",
        "services.web.depends_on[0]",
        "platform.lease",
    ]


def test_the_message_of_the_error_holds_all_problems() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read("[platform]\nlease = 0\ncooldown = -1")

    assert caught.value.message.startswith("recovery.toml has 2 problems:\n  recovery.toml:2: platform.lease: ")


def test_a_dependency_cycle_is_told_as_a_path() -> None:
    text = "[services.c]\ndepends_on=['a']\n[services.a]\ndepends_on=['b']\n[services.b]\ndepends_on=['c']\n[services.d]\ndepends_on=['d']"

    assert problems(text) == [
        "recovery.toml:4: services.a.depends_on: dependency cycle: a -> b -> c -> a",
        "recovery.toml:8: services.d.depends_on: dependency cycle: d -> d",
    ]


def test_two_unnamed_checks_of_one_type_must_be_told_apart() -> None:
    assert problems(check("") + check("")) == [
        "recovery.toml:5: services.shop.checks[1]: a second check is named 'http': give this one a 'name'"
    ]


def test_a_secret_from_the_environment_is_never_shown() -> None:
    text = check("category = '${WORD}'\nexpect = '${WORD}'")

    assert "s3cret" not in "".join(problems(text, WORD="s3cret"))


def test_an_unset_variable_is_told_once_and_not_as_a_wrong_value() -> None:
    assert problems("[[services.a.checks]]\ntype='tcp'\nport='${PORT}'") == [
        "recovery.toml:3: services.a.checks[0].port: the environment variable PORT is not set"
    ]


def test_a_strategy_that_this_version_lacks_is_a_warning() -> None:
    loaded = read(check("") + service_plan("['failover', 'degrade']"))

    assert loaded.warnings[0].startswith("recovery.toml:6: services.shop.plan.network[0]: strategy 'failover' is not part of this version")


def test_a_planned_strategy_that_will_refuse_is_a_warning() -> None:
    loaded = read(check("") + service_plan("['restart']"))

    assert loaded.warnings == ("recovery.toml:6: services.shop.plan.network[0]: 'restart' will be left out of this plan: it has no driver",)


def test_a_managed_service_without_checks_is_a_warning() -> None:
    assert "has no checks" in read("[services.a]").warnings[0]
    assert read("[services.a]\nmanaged = false").warnings == ()


def service_plan(strategies: str) -> str:
    return f"[services.shop.plan]\nnetwork = {strategies}\n"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "does not exist: write one with `recovery init`"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b"a = 1\n\xff\xfe"), "recovery.toml:2: is not valid UTF-8 text"),
        (lambda path: path.write_text("a = " + "[" * 5000), "too deep"),
        (lambda path: path.write_text("a = " + "9" * 5000), "too long"),
        (lambda path: path.write_text(".".join("a" * 5000) + " = 1"), "nested more than 32 levels deep"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path, make: object, expected: str) -> None:
    path = tmp_path / "recovery.toml"
    make(path)  # type: ignore[operator]

    with pytest.raises(ConfigurationError) as caught:
        load(path, KINDS)

    assert any(expected in problem for problem in caught.value.problems)
