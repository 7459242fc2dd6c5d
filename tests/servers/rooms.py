"""Rooms on servers that several tests share: a PostgreSQL database, a Redis database number, a RabbitMQ virtual host.

The environment names the servers. Each room is new or empty, nobody else's, and gone after the `with` block:

- `RECOVERY_TEST_POSTGRES`: a URL of a user who may create databases.
- `RECOVERY_TEST_REDIS`: a `redis://` URL of a server; the first database numbers that are empty are taken, the others not touched.
- `RECOVERY_TEST_BROKER`: an `amqp://` URL of a RabbitMQ administrator; `RECOVERY_TEST_BROKER_API` is its management API
  (default: the same host and user, port 15672).
"""

import base64
import json
import os
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from sqlalchemy import create_engine, text

from recovery.store.engine import open_engine

POSTGRES = os.environ.get("RECOVERY_TEST_POSTGRES", "")
REDIS = os.environ.get("RECOVERY_TEST_REDIS", "")
BROKER = os.environ.get("RECOVERY_TEST_BROKER", "")
BROKER_API = os.environ.get("RECOVERY_TEST_BROKER_API", "")

TAKEN = "recovery:test:taken"
"""Redis key that marks a database number as somebody's room."""


@contextmanager
def own_database(server: str = POSTGRES) -> Iterator[str]:
    """Lend a new PostgreSQL database; gives its URL."""
    name = _new_name()
    engine = create_engine(open_engine(server).url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield engine.url.set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


@contextmanager
def own_redis(server: str = REDIS) -> Iterator[str]:
    """Lend an empty database number of a Redis server; gives its URL. Raises `LookupError` if none is free."""
    parts = urlsplit(server)
    with Redis.from_url(server) as client:
        numbers = range(int(client.config_get("databases")["databases"]))
    for number in numbers:
        url = urlunsplit(parts._replace(path=f"/{number}"))
        with Redis.from_url(url) as client:
            if client.dbsize() == 0 and client.set(TAKEN, "1", nx=True):
                try:
                    yield url
                finally:
                    client.flushdb()
                return
    raise LookupError(f"each of the {len(numbers)} databases of this Redis holds something; the tests want an empty one")


@contextmanager
def own_broker(server: str = BROKER, api: str = BROKER_API) -> Iterator[str]:
    """Lend a new virtual host of a RabbitMQ server; gives its URL."""
    name, parts = _new_name(), urlsplit(server)
    _ask_rabbit(parts.geturl(), api, "PUT", f"vhosts/{name}")
    try:
        _ask_rabbit(parts.geturl(), api, "PUT", f"permissions/{name}/{parts.username}", {"configure": ".*", "write": ".*", "read": ".*"})
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        _ask_rabbit(parts.geturl(), api, "DELETE", f"vhosts/{name}")


def _ask_rabbit(server: str, api: str, method: str, path: str, body: dict[str, str] | None = None) -> None:
    parts = urlsplit(server)
    request = urllib.request.Request(f"{api or f'http://{parts.hostname}:15672/api'}/{path}", method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, json.dumps(body or {}).encode(), timeout=30) as reply:
        reply.read()


def _new_name() -> str:
    return f"recovery_test_{os.getpid()}_{secrets.token_hex(4)}"
