"""`trigger` and `cancel`: start a recovery by way of the workers, and end one."""

from typing import TYPE_CHECKING, Any

import click

from recovery.models import Recovery, new_id, utcnow
from workers.cli.arguments import Seconds
from workers.cli.direct import by_option

if TYPE_CHECKING:
    from workers.cli.parts import Parts

ANSWER_TIMEOUT = 15.0
"""Seconds in which a worker must have taken the message."""
BROKER_TIMEOUT = 2.0
"""Seconds in which the broker must answer."""


@click.command(short_help="Start a recovery by hand.")
@click.argument("service")
@click.argument("strategy", required=False)
@click.option("--force", is_flag=True, help="Pass over cooldown, attempt cap and a pause.")
@click.option("--dry-run", is_flag=True, help="Decide and record, touch nothing.")
@click.option("--reason", default="", help="Goes into the history.")
@by_option
@click.option("-w", "--wait", is_flag=True, help="Tell the progress and wait for the outcome.")
@click.option("--timeout", type=Seconds(), help="Seconds to wait at most; the recovery goes on after that.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; progress goes to standard error.")
def trigger(
    *,
    service: str,
    strategy: str | None,
    force: bool,
    dry_run: bool,
    reason: str,
    by: str,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Start a recovery of SERVICE by hand: with its plan for an unavailable service, or with STRATEGY alone.

    Exit code 0 if it begins or may begin yet; 3 if nothing can be done, 4 if it is left alone (as in a dry run of the platform).
    """
    from workers.cli.parts import Parts, require_strategy
    from workers.cli.render import print_json, print_lines
    from workers.cli.requested import as_table, exit_code, requested

    if strategy is not None:
        require_strategy(strategy)
    parts = Parts()
    parts.require_service(service)
    request = {"service": service, "strategy": strategy, "force": force, "dry_run": dry_run, "reason": reason, "by": by}
    answer = ask("recovery.trigger", request)
    found = _found(parts, answer)
    if wait:
        _wait(parts, answer, found, timeout, as_json=as_json)
    elif as_json:
        print_json(as_table(answer, found))
    else:
        print_lines(requested(answer, found), hang=4)
    raise click.exceptions.Exit(exit_code(found))


@click.command(short_help="End a recovery at its next step.")
@click.argument("recovery")
@click.option("--reason", default="", help="Goes into the history.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cancel(*, recovery: str, reason: str, by: str, as_json: bool) -> None:
    """End a RECOVERY (its id, the first 6 or more characters of it, or the name of its service) at the next step.

    Straight to the database: a worker that is at work hears of it while the broker is down, too.
    """
    from workers.cli.direct import AWAY, nudge
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_lines
    from workers.cli.story import find

    parts = Parts()
    found = find(parts, recovery, only_open=True)
    now = utcnow()
    stopping = parts.store.request_cancel(found.id, reason or f"cancelled by {by}", now)
    if stopping is not None:
        parts.store.audit("cancel_requested", by, {"recovery_id": found.id, "service": found.service, "reason": reason}, now)
    is_told = nudge([found.id] if stopping is not None else [])
    if as_json:
        state = "closed" if stopping is None else "cancelling"
        print_json({"recovery_id": found.id, "service": found.service, "state": state, "nudged": is_told})
    elif stopping is None:
        print_lines([f"The recovery of {found.service} ({found.id}) is closed."], hang=4)
    else:
        away = [] if is_told else [f"{AWAY}, but a step under way is the last one."]
        print_lines([f"The recovery of {found.service} ({found.id}) ends at its next step.", *away], hang=4)


def ask(task: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Send a task and return its answer.

    Raises:
        RecoveryError: what the task raised.
        StoreUnavailable: the broker does not answer.
        Refusal: no worker took it in time.
    """
    from celery.exceptions import TimeoutError as NoAnswer

    from recovery.errors import StoreUnavailable
    from recovery.settings import redact
    from workers.celery import app
    from workers.cli.edge import UNREACHABLE, Refusal
    from workers.dispatch import NOT_SENT, OWN_QUEUE

    require_broker(app)
    task_id = new_id()
    try:
        app.send_task(task, kwargs=kwargs, task_id=task_id, queue=OWN_QUEUE, retry=False, ignore_result=False)
    except NOT_SENT as error:
        raise StoreUnavailable(f"the broker {redact(app.conf.broker_url)} did not take the message ({_first_line(error)})") from error
    try:
        answer: dict[str, Any] = app.AsyncResult(task_id).get(timeout=ANSWER_TIMEOUT, interval=0.05)
    except NoAnswer:
        raise Refusal(
            f"sent, but no worker took it within {ANSWER_TIMEOUT:g} s; is the platform running (`recovery up`)? "
            f"It will be carried out when one comes (task {task_id})",
            UNREACHABLE,
        ) from None
    return answer


def require_broker(app: Any) -> None:
    """Raise `StoreUnavailable` in one sentence if the broker does not answer within 2 seconds."""
    from recovery.errors import StoreUnavailable
    from recovery.settings import redact

    url = app.conf.broker_url
    try:
        with app.connection_for_write(connect_timeout=BROKER_TIMEOUT) as connection:
            patience = {"socket_connect_timeout": BROKER_TIMEOUT, "socket_timeout": BROKER_TIMEOUT}
            connection.transport_options = {**connection.transport_options, **patience}
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT)
            connection.default_channel  # noqa: B018 - the Redis transport connects only here
    except Exception as error:
        raise StoreUnavailable(
            f"the broker {redact(url)} does not answer ({_first_line(error)}); "
            "start the platform with `recovery up`, or set RECOVERY_BROKER_URL; `recovery emergency SERVICE` does without it"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _found(parts: "Parts", answer: dict[str, Any]) -> Recovery | None:
    """Return the recovery of a request as it is by now; None if the database cannot tell: the request was taken all the same."""
    from recovery.errors import StoreUnavailable

    try:
        return parts.store.recovery(str(answer["recovery_id"]))
    except StoreUnavailable:
        return None


def _wait(parts: "Parts", answer: dict[str, Any], found: Recovery | None, timeout: float | None, *, as_json: bool) -> None:
    from workers.cli.follow import ending, exit_code_of, follow
    from workers.cli.requested import headline
    from workers.cli.story import print_story

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    say(headline(answer, found))
    closed = follow(parts.store, str(answer["recovery_id"]), timeout, say)
    if as_json:
        print_story(parts, closed.id, as_json=True)
    else:
        say(ending(closed))
    raise click.exceptions.Exit(exit_code_of(closed))
