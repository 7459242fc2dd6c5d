"""`python -m tests.torture.planted`: plant each bug in turn; exit with 0 only if every one was caught as what it is."""

import sys
from collections import Counter

from tests.torture.__main__ import options, say, torture
from tests.torture.plants import PLANTS

KILLS = "16"


def main() -> int:
    """Return the exit code."""
    missed = 0
    for name, plant in PLANTS.items():
        _, violations = torture(options(["--kills", KILLS, "--plant", name, *sys.argv[1:]]))
        counts = Counter(violation.kind for violation in violations)
        first = next((violation.sentence for violation in violations if violation.kind == plant.caught_as), None)
        missed += first is None
        say(f"{name}: {'caught' if first else 'NOT CAUGHT'} {dict(counts)}" + (f"\n  such as: {first}" if first else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
