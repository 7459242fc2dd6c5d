"""A plain polling watchdog, the floor for recovery times: ask every second, kill and start what does not answer 200.

It has no history, no cooldown, no verification and no second opinion, and whatever kills it ends the watching.

    python -m benchmarks.watchdog URL COMMAND...
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request

INTERVAL, TIMEOUT = 1.0, 1.0


def healthy(url: str) -> bool:
    """Ask once."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def watch(url: str, command: list[str]) -> None:
    """Keep `command` running and answering."""
    process = subprocess.Popen(command)
    while True:
        time.sleep(INTERVAL)
        if not healthy(url):
            process.kill()
            process.wait()
            process = subprocess.Popen(command)


if __name__ == "__main__":
    watch(sys.argv[1], sys.argv[2:])
