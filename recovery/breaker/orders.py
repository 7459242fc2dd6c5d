"""How long an order may last that ends by itself."""

SHORTEST = 1
"""Seconds; whoever gives one that is shorter reads of an end that is past."""
LONGEST = 366 * 86_400
"""Seconds; what shall stand for longer has no end, until somebody takes it back."""


def check_length(seconds: float | None) -> None:
    """Raise `ValueError` unless an order can last so long; None: it has no end."""
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise ValueError(f"an order lasts above 0 up to {LONGEST} seconds, not {seconds:g}; None: until another order")
