"""A web service that uses the client: orders are paid at a gateway, prices come from wherever there are some, search can be switched off.

Run it beside a platform that looks after the service `gateway` (needs `pip install fastapi uvicorn`):

    GATEWAY_URL=http://127.0.0.1:8001 uvicorn --app-dir examples/fastapi_service orders:app --workers 2
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.request import urlopen

from fastapi import FastAPI, HTTPException

from recovery.client import CircuitOpen, RecoveryClient

GATEWAY = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8001")
PATIENCE = float(os.environ.get("PATIENCE", "10"))
"""Seconds that a customer waits for the gateway to be repaired."""

client = RecoveryClient()  # RECOVERY_REDIS_URL, else the embedded platform of this folder


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Load the flags before the first request, and deliver the last reports."""
    client.warm_up()
    yield
    client.close()


app = FastAPI(lifespan=lifespan)


def ask_gateway() -> str:
    """Ask the gateway; any answer but 200 raises."""
    with urlopen(GATEWAY, timeout=2) as answer:
        return str(answer.read().decode())


def list_prices(item: str) -> str:
    """Return the price of an item as the gateway knows it."""
    ask_gateway()
    return f"{item} costs 3 at the gateway's price"


def last_price_list(item: str) -> str:
    """Return the price of an item as printed."""
    return f"{item} costs 4 by last year's list"


pay = client.healing("gateway", attempts=2, wait_for_recovery=PATIENCE, category="service_unavailable", severity="critical")
prices = client.chain("gateway-prices", list_prices, last_price_list)


@app.post("/orders/{item}")
def order(item: str) -> dict[str, str]:
    """Pay an item; a customer waits for the repair rather than being sent away."""
    try:
        return {"item": item, "paid": pay.call(ask_gateway)}
    except CircuitOpen as refused:
        raise HTTPException(503, "come back later", headers={"Retry-After": f"{refused.retry_after:.0f}"}) from refused
    except OSError as error:
        raise HTTPException(502, "the gateway does not answer") from error


@app.get("/prices/{item}")
def price(item: str) -> dict[str, str]:
    """Return a price and who said it."""
    answer = prices.answer(item)
    return {"price": answer.value, "by": answer.by}


@app.get("/search")
def search(words: str) -> dict[str, str]:
    """Search, unless the platform has switched it off to save the rest."""
    if not client.flags.enabled("search"):
        raise HTTPException(503, "search is switched off for now")
    with client.guard("search"):
        return {"found": words.upper()}
