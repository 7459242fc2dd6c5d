"""What somebody else left under a breaker's keys: tells it from an outage of Redis, and says in one sentence what to do about it.

It must cost nobody but the users of that one breaker, see `lua/sound.lua`.
"""

import json
from typing import Any, get_args

from recovery.breaker.circuit import Shown, State
from recovery.breaker.options import Mode

BREAKERS = "recovery:breakers"
"""The key of the list of all breakers."""
STATES, SHOWN, MODES = (frozenset(get_args(words)) for words in (State, Shown, Mode))
COUNTS = ("successes", "stage", "streak", "trips", "calls", "failures", "slow", "in_a_row", "votes")
TIMES = ("now", "stage_until", "opened_at", "retry_at", "repairing_until", "mode_at", "mode_until", "ramp")
TEXTS = ("name", "reason")
MOST_TOLD = 10**14
"""Counts and times are below it, as in `lua/sound.lua`: above it Lua's JSON does not tell whole numbers apart."""
NEWEST = 2**52
"""Versions are below it, as in `lua/sound.lua`. What is above must not be remembered: it would come back after each reset."""


class Nonsense(ValueError):
    """What was read tells of no breaker."""


def read_breaker(text: bytes | str) -> dict[str, Any]:
    """Return the breaker in an answer or a pushed message, as `encoded` in `lua/circuit.lua` makes it; raises `Nonsense` if it is none."""
    try:
        told: dict[str, Any] = json.loads(text.decode(errors="replace") if isinstance(text, bytes) else text)
        sound = (
            (told["state"] in STATES and told["shown"] in SHOWN and told["mode"] in MODES)
            and all(isinstance(told[name], str) for name in TEXTS)
            and all(_is_number(told[name]) for name in COUNTS)
            and all(told.get(name) is None or _is_number(told[name]) for name in TIMES)
            and told["now"] is not None
            and version_in(told["version"]) is not None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Nonsense(f"{text[:200]!r} is no breaker: {error!r}") from error
    if not sound:
        raise Nonsense(f"{text[:200]!r} is no breaker")
    return told


def version_in(text: bytes | str) -> int | None:
    """Return the version that `text` is, None if no breaker can have it."""
    digits = text.decode("ascii", errors="replace") if isinstance(text, bytes) else text
    if len(digits) > len(str(NEWEST)) or not (digits.isascii() and digits.isdigit()):
        return None
    return version if (version := int(digits)) < NEWEST else None


def is_about_one_key(error: Exception) -> bool:
    """Say whether Redis works and only what lies under a key is wrong: another type, or values that a script cannot use."""
    if isinstance(error, Nonsense):
        return True
    from redis.exceptions import ResponseError  # whoever has such an error has this

    if type(error) is not ResponseError:  # its subclasses are about the server: read-only, out of memory, no permission
        return False
    text = str(error)
    return "WRONGTYPE" in text or text.startswith(("SPOILED ", "user_script"))


def what_is_wrong(name: str, key: str, error: Exception) -> str:
    """Return in one sentence what is wrong under the keys of the breaker `name`, whose hash is `key`, and what to do."""
    text = str(error)
    what = text.removeprefix("SPOILED ") if text.startswith("SPOILED ") else f"{key} cannot be used ({text})"
    return f"{what}; `recovery breakers reset {name}` puts it right, or `DEL {what.split()[0]}`"


def what_is_wrong_with_the_list(error: Exception) -> str:
    """Return in one sentence what is wrong with the list of all breakers, and what to do."""
    return f"{BREAKERS} is no list of them ({error}); after `DEL {BREAKERS}` each program that runs lists its own again within seconds"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < MOST_TOLD
