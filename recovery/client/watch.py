"""One thread that keeps local views fresh: it listens to what Redis pushes and looks at everything every few seconds besides."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Any, Protocol

from recovery.breaker.spoiled import is_about_one_key
from recovery.client.connection import Backoff

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("recovery.client")

POLL = 2.0
"""Seconds between looks at everything, in case a push was lost."""
NOTICE_STOP = 0.5
"""Seconds after which a waiting thread looks whether it should stop."""


class Listener(Protocol):
    """A local view of something that lives in Redis."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Return the channels that its changes are pushed on."""
        ...

    def load(self, redis: "Redis", /) -> None:
        """Take in everything; called right after subscribing, so that no change falls between the two."""
        ...

    def hear(self, message: bytes, redis: "Redis", /) -> None:
        """Take in one pushed change."""
        ...

    def away(self, error: Exception, /) -> None:
        """Note that Redis cannot be reached."""
        ...


class Watch:
    """Feeds listeners from Redis for as long as the process lives.

    Args:
        connect: Returns a connection pool; called in the thread.
        listeners: The local views to feed.
        poll: Seconds between looks at everything.
    """

    def __init__(self, connect: "Callable[[], Redis]", listeners: Sequence[Listener], poll: float = POLL) -> None:
        self._connect = connect
        self._listeners = listeners
        self._poll = poll
        self._spoiled: set[Listener] = set()
        self._stopped = False
        self._watching = False
        self.renew()

    def renew(self) -> None:
        """Watch in a forked child, too, if its parent did."""
        self._starting = RLock()
        self._tried = Event()
        self._stop = Event()
        if self._watching:
            self._watching = False
            self.start()

    def start(self) -> None:
        """Watch from now on; does nothing if it does already."""
        if not self._watching:
            with self._starting:
                self._start_once()

    def _start_once(self) -> None:
        if not self._watching and not self._stopped:
            self._watching = True
            try:
                Thread(target=self._run, name="recovery-watch", daemon=True).start()
            except RuntimeError:  # no thread to be had: the next question tries again
                self._watching = False

    def tried(self, timeout: float) -> bool:
        """Wait until Redis was read or found away for the first time, at most `timeout` seconds; say whether it was."""
        return self._tried.wait(timeout)

    def stop(self) -> None:
        """Stop watching; the thread ends soon after."""
        self._stopped = True
        self._stop.set()

    def _run(self) -> None:
        backoff = Backoff()
        redis: Redis | None = None
        while not self._stopped:
            try:
                redis = redis or self._connect()
                self._listen(redis, backoff)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the views must be fed again when it is over
                backoff.failed()
                for listener in self._listeners:
                    listener.away(error)
                if redis is not None:  # what was the primary may live on as a copy; new connections go to where the name leads now
                    redis.connection_pool.disconnect(inuse_connections=False)
            self._tried.set()
            self._stop.wait(backoff.waiting)
        if redis is not None:
            redis.close()

    def _listen(self, redis: "Redis", backoff: Backoff) -> None:
        listeners = {channel: listener for listener in self._listeners for channel in listener.channels}
        pubsub = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        try:
            pubsub.subscribe(*listeners)
            look_at = 0.0
            while not self._stopped:
                now = time.monotonic()
                if now >= look_at:
                    for listener in self._listeners:
                        self._feed(listener, partial(listener.load, redis))
                    backoff.succeeded()
                    self._tried.set()
                    look_at = now + self._poll
                told = _read(pubsub.connection, min(NOTICE_STOP, max(0.0, look_at - now)))
                if told is not None:
                    channel, message = told
                    listener = listeners[channel.decode()]
                    self._feed(listener, partial(listener.hear, message, redis))
        finally:
            pubsub.close()

    def _feed(self, listener: Listener, feed: Callable[[], None]) -> None:
        """Feed one listener; something foreign under its keys costs the others nothing, and is said once."""
        try:
            feed()
        except Exception as error:
            if not is_about_one_key(error):
                raise
            listener.away(error)
            if listener not in self._spoiled:
                self._spoiled.add(listener)
                log.warning("%s goes on with what it knew: something foreign lies under its keys (%s)", type(listener).__name__, error)


def _read(connection: Any, timeout: float) -> tuple[bytes, bytes] | None:
    """Return the channel and the text of the next message, None if none comes in time.

    redis-py's `get_message` takes several times as long to hand over the same, and a breaker elsewhere is open all that time.
    """
    if not connection.can_read(timeout=timeout):
        return None
    kind, channel, text = connection.read_response(disconnect_on_error=False, push_request=True)
    return (channel, text) if kind == b"message" else None  # else it confirms a subscription
