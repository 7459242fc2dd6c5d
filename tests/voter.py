"""A service's process with a breaker that needs the agreement of two; tests talk to it by lines, it answers with JSON.

    python -m tests.voter URL SPOOL VOTE

`VOTE` is in seconds, for how long its vote counts unless it is renewed. `fail` makes one call that fails, `pass` one that works, any
other line none; the answer tells how the call ended and how the breaker stands here. The end of the input ends it.
"""

import json
import sys
from operator import truediv as divide

from recovery.breaker import dealings
from recovery.client import CircuitOpen, RecoveryClient


def main(url: str, spool: str, vote: str) -> None:
    """Do what the lines say."""
    dealings.VOTE = float(vote)
    with RecoveryClient(url, spool=spool) as client:
        breaker = client.breaker("gateway", quorum=2, failure_threshold=3, reset_timeout=600.0, jitter=0.0, service="payments")
        client.warm_up(30)
        for line in sys.stdin:
            ended = ""
            if line.strip() in {"fail", "pass"}:
                try:
                    breaker.call(divide, 1, line.strip() == "pass")
                    ended = "passed"
                except ZeroDivisionError:
                    ended = "failed"
                except CircuitOpen:
                    ended = "refused"
            told = {"ended": ended, "state": breaker.state, "connected": client._link.connected, "process": client._link.process}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
