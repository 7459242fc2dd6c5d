"""A service's process that calls something broken through a shared breaker; tests talk to it by lines of JSON.

    python -m tests.breaker_caller URL SPOOL FLAG

It calls about fifty times a second; a call fails while the file FLAG is there. Each line on its standard input is answered by how it
stands; the end of the input ends it.
"""

import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from recovery.client import CircuitOpen, RecoveryClient


@dataclass
class Seen:
    """What came of the calls."""

    passed: int = 0
    failed: int = 0
    refused: int = 0
    longest: float = 0.0
    odd: str = ""


def main(url: str, spool: str, flag: str) -> None:
    """Call until the standard input ends."""
    broken, seen = Path(flag), Seen()
    with RecoveryClient(url, spool=spool) as client:
        breaker = client.breaker("gateway", failure_threshold=5, reset_timeout=600.0, jitter=0.0)

        def work() -> None:
            if broken.exists():
                raise ConnectionError("refused")

        def call() -> None:
            while True:
                began = time.monotonic()
                try:
                    breaker.call(work)
                    seen.passed += 1
                except CircuitOpen:
                    seen.refused += 1
                except ConnectionError:
                    seen.failed += 1
                except Exception as error:  # noqa: BLE001 - the test looks at it
                    seen.odd = repr(error)
                seen.longest = max(seen.longest, time.monotonic() - began)
                time.sleep(0.02)

        client.warm_up(30)
        threading.Thread(target=call, daemon=True).start()
        for _line in sys.stdin:
            told = {"state": breaker.state, "trips": breaker.circuit.trips, "connected": client._link.connected, **vars(seen)}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
