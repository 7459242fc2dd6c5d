"""The payment gateway, a stranger's service: it can be asked to fail, and nobody here can restart it."""

import os
from pathlib import Path

from web import Query, Reply, serve

BROKEN = Path(os.environ["FLEET_GATEWAY_BROKEN"])
"""While this file exists, every payment is refused with a 500."""


def pay(_query: Query) -> Reply:
    """Take a payment."""
    return (500, {"error": "the bank does not answer"}) if BROKEN.exists() else (200, {"paid": True})


if __name__ == "__main__":
    serve(int(os.environ["FLEET_GATEWAY_PORT"]), {"/pay": pay, "/health": pay})
