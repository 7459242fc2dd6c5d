"""Lua scripts that cost one round trip and little else: sent by their digest on a connection that is kept for them.

redis-py's own way adds retries, which `connect` turns off anyway, and counts each connection that the pool lends and takes
back: together more than the round trip itself.
"""

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from redis import ConnectionPool, Redis
from redis.exceptions import NoScriptError, RedisError

Argument = str | int | float

_kept: "WeakKeyDictionary[ConnectionPool, deque[Any]]" = WeakKeyDictionary()
"""Connections that no script uses right now, by the pool that made them: one per thread that ever ran a script at the same time."""


class Script:
    """One script on one server; it may be used from any thread and in a forked child.

    Args:
        redis: from `connect`.
        text: in Lua; declares its keys and arguments.
    """

    def __init__(self, redis: Redis, text: str) -> None:
        self._pool: Any = redis.connection_pool
        self._kept = _kept.setdefault(self._pool, deque())
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """Run it and return its reply; raises what redis-py raises. A server that does not know it yet is told."""
        try:
            return self._ask("EVALSHA", self._digest, len(keys), *keys, *args)
        except NoScriptError:
            return self._ask("EVAL", self._text, len(keys), *keys, *args)

    def _ask(self, *command: Argument) -> Any:
        connection = self._lent()
        try:
            connection.send_packed_command([packed(command)])
            return connection.read_response()
        except BaseException as error:
            if not isinstance(error, NoScriptError):
                connection.disconnect()  # a late reply must not become the answer to the next question
            raise
        finally:
            self._kept.append(connection)

    def _lent(self) -> Any:
        """Return a connection of this process, with nothing left to read; one that the server has closed connects again when used."""
        while self._kept:
            try:
                connection = self._kept.pop()
            except IndexError:  # another thread was faster
                break
            if connection.pid != os.getpid():  # the parent goes on with it
                continue
            try:
                stale = connection.can_read()
            except RedisError:
                stale = True
            if stale:
                connection.disconnect()
            return connection
        return self._pool.get_connection()


def packed(command: Sequence[Argument]) -> bytes:
    """Return a command as the server reads it (RESP): the number of its words, then the length of each and the word."""
    words = [str(word).encode() for word in command]
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))
