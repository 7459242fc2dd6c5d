"""Steps that replace the running instance of a service: stop, start, ready. `restart` and `backup_fallback` are made of them.

They compare identities: an instance that appeared after the step began is never stopped, and none is started twice.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import JsonValue

from recovery.errors import StepFailed
from recovery.models import JsonObject
from recovery.ports import AttemptContext, Driver, StepWork
from strategies.drivers.abilities import IdentityUnknown, Restarts, last_words, listeners_of
from strategies.listeners import Listener, accepts, holder, is_held
from strategies.polling import INTERVAL, wait_until
from strategies.retrying import BRIEFLY_ON_DRIVER_ERRORS

PORTS_PATIENCE = 3.0
"""Seconds that ports may stay taken after their process has gone."""
PORTS_INTERVAL = 0.1
"""Seconds between two looks at ports that are held; each look is a connection that a stranger must bear."""
MARGIN = 30.0
"""Seconds that a step gets beyond what it was told to wait, for killing, starting and looking."""


def replacement(context: AttemptContext, driver: Driver, stop_timeout: float, ready_timeout: float) -> tuple[StepWork, ...]:
    """Return the steps that put a new instance in the place of the present one; both timeouts in seconds."""
    ready = ready_step(context, driver, ready_timeout)
    if isinstance(driver, Restarts):
        return (_restart_step(context, driver, driver.restart), ready)

    def start_again(intent: JsonObject, _result: JsonObject | None) -> StepWork | None:
        return None if "start" in context.results else start_what_ran(context, driver, intent)

    return (replace(stop_step(context, driver, stop_timeout), undo=start_again), start_step(context, driver), ready)


def start_what_ran(context: AttemptContext, driver: Driver, before: JsonObject) -> StepWork | None:
    """Return the step that starts what was running before a stop; `before` is the intent of the stop. None: nothing ran."""
    nothing_ran = before["instance"] is None and before.get("known", True)
    return None if nothing_ran else replace(start_step(context, driver), retry=None)  # the attempt has had its tries


def stop_step(context: AttemptContext, driver: Driver, timeout: float) -> StepWork:
    """Return the step that ends the present instance and waits until its ports are free; force after `timeout` seconds."""
    name = context.service.name

    def run(intent: JsonObject) -> JsonObject:
        now = _look(driver)
        if _is_another(intent["instance"], now["instance"]):
            return {**now, "note": "a new instance had appeared; it was left alone"}
        context.guard()
        done = driver.stop(timeout)
        _wait_for_free_ports(name, listeners_of(driver))
        return done

    def reconcile(intent: JsonObject) -> JsonObject | None:
        now = _look(driver)
        if _must_repeat(now, f"the stop of '{name}'"):
            return None
        if _is_another(intent["instance"], now["instance"]):
            return {**now, "note": "it was stopped, and a new instance has appeared"}
        return {"instance": None} if now["instance"] is None and not _held(listeners_of(driver)) else None

    return StepWork("stop", run, lambda: _look(driver), reconcile, timeout + MARGIN)


def start_step(context: AttemptContext, driver: Driver) -> StepWork:
    """Return the step that starts an instance unless one runs."""

    def run(_intent: JsonObject) -> JsonObject:
        now = _look(driver)
        if now["instance"] is not None:
            return {**now, "note": "an instance had appeared by itself"}
        context.guard()
        return {"instance": driver.start()}

    def reconcile(_intent: JsonObject) -> JsonObject | None:
        now = _look(driver)
        if _must_repeat(now, f"the start of '{context.service.name}'"):
            return None
        return now if now["instance"] is not None else None

    limit = context.service.verify_timeout + MARGIN
    return StepWork("start", run, lambda: _look(driver), reconcile, limit, retry=BRIEFLY_ON_DRIVER_ERRORS)


def ready_step(context: AttemptContext, driver: Driver, timeout: float) -> StepWork:
    """Return the step that waits until the instance lives and its ports accept; it only looks, so it may be repeated."""
    name = context.service.name

    def run(_intent: JsonObject) -> JsonObject:
        began = time.monotonic()
        while waiting := [listener for listener in listeners_of(driver) if not accepts(listener)]:
            _require_alive(name, driver)
            if time.monotonic() - began > timeout:
                where = ", ".join(map(str, waiting))
                raise StepFailed(f"'{name}' does not accept connections at {where} {timeout:g} s after its start{last_words(driver)}")
            time.sleep(INTERVAL)
        _require_alive(name, driver)
        return {**_look(driver), "seconds": round(time.monotonic() - began, 3)}

    return StepWork("ready", run, timeout=timeout + MARGIN)


def _restart_step(context: AttemptContext, driver: Driver, restart: Callable[[], JsonObject]) -> StepWork:
    """Return the step for drivers that stop and start in one go."""

    def run(intent: JsonObject) -> JsonObject:
        now = _look(driver)
        if _is_another(intent["instance"], now["instance"]):
            return {**now, "note": "a new instance had appeared; it was left alone"}
        context.guard()
        return {"instance": restart()}

    def reconcile(intent: JsonObject) -> JsonObject | None:
        now = _look(driver)
        if _must_repeat(now, f"the restart of '{context.service.name}'"):
            return None
        return now if _is_another(intent["instance"], now["instance"]) else None

    limit = context.service.verify_timeout + MARGIN
    return StepWork("restart", run, lambda: _look(driver), reconcile, limit, retry=BRIEFLY_ON_DRIVER_ERRORS)


def _look(driver: Driver) -> JsonObject:
    """Return the running instance as journaled: its identity, or None with `known` false where the driver cannot tell."""
    try:
        return {"instance": driver.identity()}
    except IdentityUnknown as unknown:
        return {"instance": None, "known": False, "repeatable": unknown.repeatable, "why": unknown.message}


def _must_repeat(now: JsonObject, what: str) -> bool:
    """Say whether to run again what nobody can look up; raises `StepFailed` unless the operator allowed it."""
    if now.get("known", True):
        return False
    if now["repeatable"]:
        return True
    raise StepFailed(f"cannot tell whether {what} took effect: {now['why']}")


def _is_another(before: JsonValue, now: JsonValue) -> bool:
    """Say whether `now` is an instance that was not there before; one that shares a member with `before` is the same."""
    if now is None:
        return False
    if isinstance(before, dict) and isinstance(now, dict):
        old, new = before.get("members"), now.get("members")
        if isinstance(old, dict) and isinstance(new, dict):
            return not any(new.get(name) == member for name, member in old.items())
    return before != now


def _require_alive(name: str, driver: Driver) -> None:
    now = _look(driver)
    if now["instance"] is None and now.get("known", True):
        raise StepFailed(f"'{name}' ended while it was starting{last_words(driver)}")


def _held(listeners: Sequence[Listener]) -> list[Listener]:
    return [listener for listener in listeners if is_held(listener)]


def _wait_for_free_ports(name: str, listeners: Sequence[Listener]) -> None:
    if not wait_until(lambda: not _held(listeners), PORTS_PATIENCE, PORTS_INTERVAL):
        held = ", ".join(f"{listener} by {holder(listener)}" for listener in listeners if is_held(listener))
        raise StepFailed(f"'{name}' was stopped, but its port is still held: {held}; end that process or correct 'ports'")
