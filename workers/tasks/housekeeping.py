"""Queue `maintenance`: the tick behind every lost message, and the pruning of old rows."""

from dataclasses import asdict
from datetime import timedelta

from celery import Task
from celery.utils.log import get_task_logger

from recovery.errors import RecoveryError, StoreUnavailable, StoreUnprepared
from recovery.models import JsonObject, utcnow
from workers.celery import app
from workers.circuits import mark_repairs
from workers.degrading import look_after
from workers.dispatch import obey
from workers.processes import prepare_database
from workers.wiring import platform

logger = get_task_logger(__name__)


@app.task(name="maintenance.tick", shared=False, bind=True, acks_late=False, retry_on_worker_lost=False, send_events=False)  # type: ignore[untyped-decorator]
def tick(self: Task) -> None:
    """Look at what is due: timers, expired leases, messages that never arrived; send it on, never execute it."""
    try:
        for directive in platform().reaper.tick():
            obey(directive)
    except StoreUnprepared:  # it was away when this worker started
        prepare_database(platform().settings)
    except StoreUnavailable as error:
        logger.warning("nothing can be recovered now: %s", error.message)
    else:
        _note_tick(str(self.request.origin or "").removeprefix("gen"))  # Celery calls the process 1234 of a host gen1234@host
        _mark_repairs()
        _look_after_degradations()


def _note_tick(beat: str) -> None:
    """Note that a tick came; what goes wrong with that does not fail the tick."""
    try:
        platform().watch.ticked(beat)
    except RecoveryError as error:
        logger.warning("the tick cannot be noted: %s", error.message)
    except Exception:
        logger.exception("the tick cannot be noted")


def _mark_repairs() -> None:
    """Let callers see which breakers belong to a service that is being recovered; what goes wrong with that does not fail the tick."""
    try:
        mark_repairs(platform().breakers, platform().store)
    except RecoveryError as error:
        logger.debug("breakers are not marked as under recovery: %s", error.message)
    except Exception:
        logger.exception("breakers are not marked as under recovery")


def _look_after_degradations() -> None:
    """Judge the rules of degradation; what goes wrong with that does not fail the tick, and the next one makes up for it."""
    try:
        look_after(platform(), utcnow())
    except RecoveryError as error:
        logger.warning("nothing is degraded or restored by rules now: %s", error.message)
    except Exception:
        logger.exception("nothing is degraded or restored by rules now")


@app.task(name="maintenance.prune", shared=False, acks_late=False, retry_on_worker_lost=False)  # type: ignore[untyped-decorator]
def prune() -> JsonObject:
    """Delete samples and closed recoveries that are older than the configuration keeps them; return how many.

    Raises:
        StoreUnavailable: the database is away; the next hour's run makes up for it.
    """
    keep, now = platform().fleet().platform, utcnow()
    platform().watch.forget()
    pruned = platform().history.prune(
        samples_before=now - timedelta(seconds=keep.keep_samples),
        history_before=now - timedelta(seconds=keep.keep_history),
    )
    return asdict(pruned)
