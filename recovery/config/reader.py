"""Walk over the tables of `recovery.toml` and build the declarations, one method per level."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar, cast

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from recovery.config.degradation import CapabilityDeclaration, DegradationRule, FeatureDeclaration
from recovery.config.fleet import CheckDeclaration, DriverDeclaration, MaintenanceDeclaration, PlatformDeclaration, ServiceDeclaration
from recovery.config.kinds import Kinds
from recovery.config.locate import Where
from recovery.config.references import check_dependencies, check_labels, check_rule, check_services, check_strategy
from recovery.config.retries import RetryDeclaration
from recovery.config.validate import Text, keys_of, options_of, validate
from recovery.config.words import NAME_RULE
from recovery.errors import listing, nearest
from recovery.models import JsonObject, ServiceName

TABLES = {"capabilities", "degradation", "features", "maintenance", "platform", "services"}
COMMON_KEYS = keys_of(CheckDeclaration) - {"options"}
SERVICE_KEYS = keys_of(ServiceDeclaration) - {"name"}
DEFAULT_TIMEOUT = 5.0
"""Seconds; the interval, if that is shorter."""
DEFAULT_INTERVAL = 60.0
"""Seconds, for kinds of check that name none."""
NAME = TypeAdapter[str](ServiceName)


D = TypeVar("D", FeatureDeclaration, CapabilityDeclaration)


class Degrading(NamedTuple):
    """What can be done without, and when it is by itself."""

    features: dict[str, FeatureDeclaration]
    capabilities: dict[str, CapabilityDeclaration]
    rules: tuple[DegradationRule, ...]


class Reader:
    """Walk over the tables, from the file down to one check, and note all that is wrong on the way.

    Args:
        kinds: what may be named.
        text: the file, with the report that takes the problems.
    """

    def __init__(self, kinds: Kinds, text: Text) -> None:
        self.kinds = kinds
        self.text = text
        self.report = text.report

    def platform(self, tree: JsonObject) -> PlatformDeclaration:
        """Return the platform's settings; the defaults where they are missing or wrong."""
        for key in tree.keys() - TABLES:
            self.report.error((key,), f"unknown table or key{nearest(key, TABLES)} (known: {listing(TABLES)})")
        table = self._table(tree.get("platform", {}), ("platform",))
        return validate(PlatformDeclaration, table, ("platform",), self.text) or PlatformDeclaration()

    def services(self, tree: JsonObject) -> dict[str, ServiceDeclaration]:
        """Return the services that could be read, by name."""
        tables = self._table(tree.get("services", {}), ("services",))
        built = {name: self._service(name, table) for name, table in tables.items()}
        services = {name: service for name, service in built.items() if service is not None}
        check_dependencies(services, tables, self.report)
        return services

    def maintenance(self, tree: JsonObject, services: Mapping[str, ServiceDeclaration]) -> tuple[MaintenanceDeclaration, ...]:
        """Return the maintenance windows that could be read."""
        tables = tree.get("maintenance", [])
        if not isinstance(tables, list):
            self.report.error(("maintenance",), "must be a list of tables: write [[maintenance]] with two brackets")
            return ()
        windows: dict[str, MaintenanceDeclaration] = {}
        for position, item in enumerate(tables):
            where: Where = ("maintenance", position)
            window = validate(MaintenanceDeclaration, self._table(item, where), where, self.text)
            if window and window.name in windows:
                self.report.error((*where, "name"), f"a second window is named '{window.name}'")
            if window:
                windows[window.name] = window
                check_services(window.services, (*where, "services"), services, self.report)
                check_labels(window.labels, (*where, "labels"), services, self.report)
        return tuple(windows.values())

    def degradation(self, tree: JsonObject, services: Mapping[str, ServiceDeclaration]) -> Degrading:
        """Return the features, capabilities and rules that could be read."""
        return Degrading(
            self._named("features", FeatureDeclaration, tree, services),
            self._named("capabilities", CapabilityDeclaration, tree, services),
            self._rules(tree, services),
        )

    def _named(self, kind: str, model: type[D], tree: JsonObject, services: Mapping[str, ServiceDeclaration]) -> dict[str, D]:
        built: dict[str, D] = {}
        for name, item in self._table(tree.get(kind, {}), (kind,)).items():
            where: Where = (kind, name)
            self._name(name, where)
            if declared := validate(model, self._table(item, where), where, self.text):
                built[name] = declared
                self._check_service(declared.service, where, services)
        return built

    def _rules(self, tree: JsonObject, services: Mapping[str, ServiceDeclaration]) -> tuple[DegradationRule, ...]:
        tables = tree.get("degradation", [])
        if not isinstance(tables, list):
            self.report.error(("degradation",), "must be a list of tables: write [[degradation]] with two brackets")
            return ()
        rules: dict[str, DegradationRule] = {}
        for position, item in enumerate(tables):
            where: Where = ("degradation", position)
            rule = validate(DegradationRule, self._table(item, where), where, self.text)
            if rule and rule.name in rules:
                self.report.error((*where, "name"), f"a second rule is named '{rule.name}'")
            if rule:
                rules[rule.name] = rule
                check_rule(rule, where, services, self.report)
        return tuple(rules.values())

    def _check_service(self, name: str | None, where: Where, services: Mapping[str, ServiceDeclaration]) -> None:
        if name is not None and name not in services:
            said = f"no service is called '{name}'{nearest(name, services)} (declared: {listing(services)})"
            self.report.error((*where, "service"), said)

    def _service(self, name: str, value: JsonValue) -> ServiceDeclaration | None:
        where: Where = ("services", name)
        if not isinstance(value, dict):
            self.report.error(where, f"must be a table: write [services.{name}]")
            return None
        parts = {"checks", "driver", "remedies", "retry"}
        rest = {key: item for key, item in value.items() if key not in parts | {"name"}}
        if "name" in value:
            self.report.error((*where, "name"), f"unknown key: a service is named by its table, [services.{name}]")
        service = validate(ServiceDeclaration, {**rest, "name": self._name(name, where)}, where, self.text, known=SERVICE_KEYS)
        checks = self._checks(value.get("checks", []), (*where, "checks"))
        driver = self._driver(value["driver"], (*where, "driver")) if "driver" in value else None
        remedies = self._remedies(value.get("remedies", {}), (*where, "remedies"))
        retry = self._retries(value.get("retry", {}), (*where, "retry"))
        parts_read = {"checks": checks, "driver": driver, "remedies": remedies, "retry": retry}
        return service.model_copy(update=parts_read) if service else None

    def _name(self, name: str, where: Where) -> str:
        try:
            return NAME.validate_python(name)
        except ValidationError:
            self.report.error(where, f"{name[:40]!r} is not a valid name: {NAME_RULE}")
            return "unnamed"

    def _checks(self, value: JsonValue, where: Where) -> tuple[CheckDeclaration, ...]:
        if not isinstance(value, list):
            self.report.error(where, "must be a list of tables: write [[services.NAME.checks]] with two brackets")
            return ()
        built = [self._check(item, (*where, position)) for position, item in enumerate(value)]
        names: dict[str, int] = {}
        for position, check in enumerate(built):
            if check and names.setdefault(check.name, position) != position:
                hint = (
                    ""
                    if isinstance(value[position], dict) and "name" in cast("JsonObject", value[position])
                    else ": give this one a 'name'"
                )
                self.report.error((*where, position), f"a second check is named '{check.name}'{hint}")
        return tuple(check for check in built if check)

    def _check(self, value: JsonValue, where: Where) -> CheckDeclaration | None:
        if not isinstance(value, dict):
            self.report.error(where, "must be a table")
            return None
        kind = value.get("type")
        common = {key: item for key, item in value.items() if key in COMMON_KEYS}
        common.setdefault("name", kind if isinstance(kind, str) else "unnamed")
        common.setdefault("interval", self.kinds.intervals.get(str(kind), DEFAULT_INTERVAL))
        check = validate(CheckDeclaration, common, where, self.text)
        options = self._options("check type", self.kinds.checks, value, COMMON_KEYS, where)
        if check is None or options is None:
            return None
        if "timeout" not in value:
            check = check.model_copy(update={"timeout": min(DEFAULT_TIMEOUT, check.interval)})
        for key, seconds in (("timeout", check.timeout), ("jitter", check.jitter)):
            if seconds > check.interval:
                self.report.error((*where, key), f"{seconds:g} s is longer than the interval of {check.interval:g} s")
        return check.model_copy(update={"options": options})

    def _driver(self, value: JsonValue, where: Where) -> DriverDeclaration | None:
        if not isinstance(value, dict):
            self.report.error(where, "must be a table")
            return None
        declaration = validate(DriverDeclaration, {key: item for key, item in value.items() if key == "type"}, where, self.text)
        options = self._options("driver type", self.kinds.drivers, value, {"type"}, where)
        return declaration.model_copy(update={"options": options}) if declaration and options is not None else None

    def _remedies(self, value: JsonValue, where: Where) -> dict[str, JsonObject]:
        built: dict[str, JsonObject] = {}
        for name, item in self._table(value, where).items():
            if not check_strategy(name, (*where, name), self.kinds.strategies, self.report):
                continue
            table = self._table(item, (*where, name))
            options = options_of(self.kinds.strategies[name], table, (*where, name), self.text)
            built[name] = options if options is not None else {}
        return built

    def _retries(self, value: JsonValue, where: Where) -> dict[str, RetryDeclaration]:
        built: dict[str, RetryDeclaration] = {}
        for name, item in self._table(value, where).items():
            known = check_strategy(name, (*where, name), self.kinds.strategies, self.report)
            retry = validate(RetryDeclaration, self._table(item, (*where, name)), (*where, name), self.text)
            if known and retry:
                built[name] = retry
        return built

    def _options(
        self, family: str, models: Mapping[str, type[BaseModel]], table: JsonObject, common: set[str], where: Where
    ) -> JsonObject | None:
        """Return the keys that belong to the kind named by `type`, validated; None if there is no such kind or they are wrong."""
        kind = table.get("type")
        if not isinstance(kind, str):
            return None
        if kind not in models:
            self.report.error((*where, "type"), f"unknown {family} '{kind}'{nearest(kind, models)} (known: {listing(models)})")
            return None
        rest = {key: item for key, item in table.items() if key not in common}
        return options_of(models[kind], rest, where, self.text, known=common | keys_of(models[kind]))

    def _table(self, value: JsonValue, where: Where) -> JsonObject:
        if isinstance(value, dict):
            return value
        self.report.error(where, "must be a table")
        return {}
