"""Lua scripts that cost one round trip and little else: sent by their digest on a pooled connection.

redis-py's own way adds retries, which `connect` turns off anyway, and statistics: together as much as the round trip itself.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

Argument = str | int | float


class Script:
    """One script on one server; it may be used from any thread and in a forked child, as the client's pool may.

    Args:
        redis: from `connect`.
        text: in Lua; declares its keys and arguments.
    """

    def __init__(self, redis: Redis, text: str) -> None:
        self._pool = redis.connection_pool
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """Run it and return its reply; raises what redis-py raises. A server that does not know it yet is told."""
        try:
            return self._ask("EVALSHA", self._digest, len(keys), *keys, *args)
        except NoScriptError:
            return self._ask("EVAL", self._text, len(keys), *keys, *args)

    def _ask(self, *command: Argument) -> Any:
        connection: Any = self._pool.get_connection()
        try:
            connection.send_packed_command([packed(command)])
            return connection.read_response()
        except BaseException as error:
            if not isinstance(error, NoScriptError):
                connection.disconnect()  # a late reply must not become the answer to the next question
            raise
        finally:
            self._pool.release(connection)


def packed(command: Sequence[Argument]) -> bytes:
    """Return a command as the server reads it (RESP): the number of its words, then the length of each and the word."""
    words = [str(word).encode() for word in command]
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))
