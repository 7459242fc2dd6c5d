"""The shop: products from its cache, orders in SQLite, payments through a circuit breaker, search only while it is switched on."""

import hashlib
import json
import os
import sqlite3
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import redis
from web import Query, Reply, serve

from recovery.client import RecoveryClient
from recovery.errors import CircuitOpen

ORDERS = os.environ["FLEET_ORDERS"]
GATEWAY = f"http://127.0.0.1:{os.environ['FLEET_GATEWAY_PORT']}"
SEARCH = f"http://127.0.0.1:{os.environ['FLEET_SEARCH_PORT']}"

cache = redis.Redis.from_url(os.environ["FLEET_CACHE_URL"], socket_timeout=1)
client = RecoveryClient()
payments = client.breaker("gateway", failure_threshold=3, reset_timeout=60)


def health(_query: Query) -> Reply:
    """Say that this process answers."""
    return 200, {"shop": "open"}


def product(query: Query) -> Reply:
    """Return one product from the cache; a corrupted entry is an error, not a wrong price."""
    value = cache.get(f"product:{query.get('id', '1')}")
    if value is None:
        return 404, {"error": "no such product"}
    digest, _, payload = cast("bytes", value).partition(b":")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        return 500, {"error": "this entry of the cache is corrupted"}
    return 200, dict(json.loads(payload))


def storefront(_query: Query) -> Reply:
    """Return the start page; it has a search box only while search is switched on."""
    page: dict[str, object] = {"welcome": True, "search": client.flags.enabled("search")}
    if page["search"]:
        with urlopen(f"{SEARCH}/find?q={quote('lamp')}", timeout=0.5) as answer:
            page["suggestions"] = json.load(answer)["found"]
    return 200, page


def checkout(_query: Query) -> Reply:
    """Take an order: written down first, then paid through the breaker."""
    with sqlite3.connect(ORDERS, timeout=5) as orders:
        orders.execute("INSERT INTO orders (product) VALUES (1)")
    try:
        with payments, urlopen(f"{GATEWAY}/pay", timeout=0.5):
            return 200, {"paid": True}
    except CircuitOpen as refused:
        return 503, {"error": "payments are paused", "retry_after": refused.retry_after}
    except (HTTPError, URLError, TimeoutError) as error:
        return 502, {"error": f"the gateway failed: {error}"}


if __name__ == "__main__":
    pages = {"/health": health, "/product": product, "/": storefront, "/checkout": checkout}
    serve(int(os.environ["FLEET_SHOP_PORT"]), pages)
