"""The time, as the domain asks for it."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
"""Returns the current time, aware, in UTC. Tests hand in their own."""
