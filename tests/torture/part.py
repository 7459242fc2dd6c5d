"""One Celery process of the tortured platform: `python -m tests.torture.part worker ...` is `celery -A workers worker ...` with hooks."""

import os
import sys

from tests.torture import hooks, plants

PLANT = "RECOVERY_TORTURE_PLANT"
"""Names the bug that this process has, if any."""


def main() -> None:
    """Become Celery."""
    planted = os.environ.get(PLANT)
    if planted:
        plants.PLANTS[planted].put()
    hooks.install()
    from celery.__main__ import main as celery

    sys.argv = ["celery", "-A", "workers", "--quiet", *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
