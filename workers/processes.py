"""What the platform's processes do when they start: look for the broker, bring the database up to date, stay on a leash."""

import gc
from typing import Any

from billiard import current_process
from celery.signals import beat_init, worker_before_create_process, worker_init, worker_process_init
from celery.utils.log import get_logger
from redis import Redis
from redis.exceptions import RedisError

from recovery.errors import RecoveryError
from recovery.settings import Settings
from recovery.store.migrate import migrate
from workers import logs, resilience
from workers.platform.child import enlist
from workers.platform.pdeathsig import leash

logger = get_logger(__name__)

logs.connect_celery(Settings())
enlist()


@worker_init.connect  # type: ignore[untyped-decorator]
def _prepare_worker(**_signal: Any) -> None:
    settings = Settings()
    find_embedded_broker(settings)
    resilience.guard()
    prepare_database(settings)


@beat_init.connect  # type: ignore[untyped-decorator]
def _prepare_beat(**_signal: Any) -> None:
    settings = Settings()
    find_embedded_broker(settings)
    prepare_database(settings)


@worker_before_create_process.connect  # type: ignore[untyped-decorator]
def _share_memory(**_signal: Any) -> None:
    """Keep the collector off what was imported: its marks would make each child a copy of its own, about 40 MB.

    Once: what a worker at work has in its hands at a later fork is to be collected one day.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _prepare_pool_process(**_signal: Any) -> None:
    parent = current_process()._parent_pid  # noqa: SLF001 - unlike getppid() it is right even if the parent died meanwhile
    if parent is not None:  # the solo pool sends this signal too, in a process whose parent is somebody's shell
        leash(parent)


def prepare_database(settings: Settings) -> None:
    """Bring the database up to date; one that is away is told, and prepared by the first tick that finds it back."""
    try:
        migrate(settings.database)
    except RecoveryError as error:
        logger.error("the database is not ready, recoveries wait for it: %s", error.message)  # noqa: TRY400 - the sentence says it all


def find_embedded_broker(settings: Settings) -> None:
    """End with one sentence if the embedded Valkey is to be used and nothing answers on its socket.

    A broker that was named by a URL is waited for instead: it has a life of its own.

    Raises:
        SystemExit: nothing answers.
    """
    if settings.broker_url or not settings.embedded:
        return
    try:
        with Redis(unix_socket_path=str(settings.socket), socket_timeout=5, socket_connect_timeout=2) as redis:
            redis.ping()
    except (RedisError, OSError):
        raise SystemExit(f"no Valkey at {settings.socket}: start `recovery up` or `recovery broker`, or set RECOVERY_REDIS_URL") from None
