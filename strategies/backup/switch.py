"""The steps that send callers to a healthy backup endpoint, and back to the primary."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from recovery.errors import StepFailed
from recovery.models import Endpoint, JsonObject
from recovery.ports import AttemptContext, Endpoints, Probe, StepWork
from recovery.settings import redact
from strategies.listeners import Listener, accepts

CONNECT_TIMEOUT = 2.0
"""Seconds a backup without a check of its own gets to accept a connection."""
DEFAULT_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379, "postgresql": 5432, "mysql": 3306, "amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Choice:
    """One backup to consider."""

    name: str
    url: str
    check: str | None


def choose_step(choices: Sequence[Choice], probe: Probe) -> StepWork:
    """Return the step that finds the first healthy backup; it only looks, so it may be repeated."""

    def run(_intent: JsonObject) -> JsonObject:
        refused: list[str] = []
        for choice in choices:
            trouble = _trouble(choice, probe)
            if trouble is None:
                return {"name": choice.name, "url": redact(choice.url), "refused": list(refused)}
            refused.append(f"{choice.name}: {trouble}")
        raise StepFailed(f"no backup endpoint is healthy: {'; '.join(refused)}")

    return StepWork("choose", run)


def switch_step(context: AttemptContext, choices: Sequence[Choice], endpoints: Endpoints) -> StepWork:
    """Return the step that sends callers to the chosen backup; the journal holds its name, a URL may hold a password."""
    service = context.service.name
    urls = {choice.name: choice.url for choice in choices}

    def prepare() -> JsonObject:
        chosen, before = context.results["choose"], endpoints.current(service)
        return {"name": chosen["name"], "before": before.name if before else None}

    def run(intent: JsonObject) -> JsonObject:
        context.guard()
        name = str(intent["name"])
        if name not in urls:
            raise StepFailed(f"backup endpoint '{name}' is not declared any more")
        if not endpoints.switch(Endpoint(service, name, urls[name], context.clock(), context.recovery.id, context.fence)):
            raise StepFailed(f"a newer switch of '{service}' is in force; this one came too late")
        return {"endpoint": name}

    def reconcile(intent: JsonObject) -> JsonObject | None:
        current = endpoints.current(service)
        took_effect = current and current.recovery_id == context.recovery.id and current.name == intent["name"]
        return {"endpoint": intent["name"]} if took_effect else None

    def undo(intent: JsonObject, result: JsonObject | None) -> StepWork | None:
        before = str(intent["before"])
        if result is None:
            return None
        return _return_step(context, Choice(before, urls[before], None), endpoints) if before in urls else back_step(context, endpoints)

    return StepWork("switch", run, prepare, reconcile, undo=undo)


def _return_step(context: AttemptContext, before: Choice, endpoints: Endpoints) -> StepWork:
    """Return the step that sends callers to the backup that an earlier mitigation had sent them to."""
    service = context.service.name

    def run(_intent: JsonObject) -> JsonObject:
        context.guard()
        if not endpoints.switch(Endpoint(service, before.name, before.url, context.clock(), context.recovery.id, context.fence)):
            raise StepFailed(f"a newer switch of '{service}' is in force; it was left alone")
        return {"endpoint": before.name}

    def reconcile(_intent: JsonObject) -> JsonObject | None:
        current = endpoints.current(service)
        return {"endpoint": before.name} if current and current.name == before.name else None

    return StepWork("switch_back", run, reconcile=reconcile)


def back_step(context: AttemptContext, endpoints: Endpoints) -> StepWork:
    """Return the step that sends callers to the primary again."""
    service = context.service.name

    def prepare() -> JsonObject:
        before = endpoints.current(service)
        return {"before": before.name if before else None}

    def run(_intent: JsonObject) -> JsonObject:
        context.guard()
        if not endpoints.clear(service, context.fence) and endpoints.current(service):
            raise StepFailed(f"a newer switch of '{service}' is in force; it was left alone")
        return {"endpoint": "primary"}

    def reconcile(_intent: JsonObject) -> JsonObject | None:
        return None if endpoints.current(service) else {"endpoint": "primary"}

    return StepWork("switch_back", run, prepare, reconcile)


def _trouble(choice: Choice, probe: Probe) -> str | None:
    """Return why callers must not be sent there, None if it is healthy."""
    if choice.check is not None:
        finding = probe([choice.check])[choice.check]
        return None if finding.ok else f"{choice.check}: {finding.message}"
    try:
        parts = urlsplit(choice.url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme.partition("+")[0])
    except ValueError as error:
        return f"bad URL: {error}"
    if not parts.hostname or not port:
        return f"no port in its URL and none known for '{parts.scheme}'; declare a 'check' for it"
    listener = Listener(parts.hostname, port)
    return None if accepts(listener, CONNECT_TIMEOUT) else f"{listener} does not accept connections"
