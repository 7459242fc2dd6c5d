"""Which process is struck how, where and when: all drawn from one seed, so that a campaign can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from random import Random

from tests.torture.points import BOUNDARIES, GAP, Action, Boundary

ROUND = 200
"""Strikes in one round; each whole round holds every boundary twice, once to kill and once to freeze."""


class Target(StrEnum):
    """What is struck."""

    BOUNDARY = "boundary"
    """Whatever process passes it first."""
    CHILD = "pool process"
    """One that remedies."""
    RECOVER = "recover worker"
    INTAKE = "intake worker"
    HEALTH = "health worker"
    BEAT = "beat"
    VALKEY = "valkey"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Strike:
    """One planned strike."""

    number: int
    target: Target
    action: Action
    boundary: Boundary | None = None
    first: Boundary | None = None
    """A boundary where a process must be killed before `boundary` can be reached at all."""
    dwell: float = 0.0
    """Seconds that each step of the patient's remedy takes."""
    delay: float = 0.0
    """Seconds from the patient's illness to a strike from outside."""
    seconds: float = 0.0
    """How long what is frozen or locked stays so."""
    late: bool = False
    """Thaw only after another worker has the lease."""
    alone: bool = False
    """Kill a process that remedies while everything else works; the others come later, all mixed."""


COORDINATION = frozenset({"open_recovery", "acknowledge", "transition", "send"})
"""Points that processes pass which coordinate."""


WEIGHTS = (
    (Target.CHILD, Action.KILL, 24),
    (Target.CHILD, Action.FREEZE, 14),
    (Target.RECOVER, Action.KILL, 12),
    (Target.RECOVER, Action.FREEZE, 6),
    (Target.INTAKE, Action.KILL, 9),
    (Target.INTAKE, Action.FREEZE, 6),
    (Target.HEALTH, Action.KILL, 4),
    (Target.HEALTH, Action.FREEZE, 2),
    (Target.BEAT, Action.KILL, 5),
    (Target.BEAT, Action.FREEZE, 4),
    (Target.VALKEY, Action.KILL, 5),
    (Target.VALKEY, Action.FREEZE, 4),
    (Target.DATABASE, Action.KILL, 5),
)
"""How often each strike from outside is drawn; each kind comes at least once where there is room for all."""

CLASSICS = (
    (Boundary("effect:swap", "after"), Action.KILL),
    (Boundary("effect:swap", "before"), Action.FREEZE),
    (Boundary("effect:fill", "after"), Action.FREEZE),
    (Boundary("send", "after"), Action.KILL),
)
"""Strikes that even the shortest campaign has: each of the planted bugs is found by one of them."""


def plan(seed: int, kills: int | None) -> Iterator[Strike]:
    """Return the strikes of a campaign, in order; without a number of `kills` they go on for ever."""
    numbers = count(1)
    for turn in count():
        left = ROUND if kills is None else min(ROUND, kills - turn * ROUND)
        if left <= 0:
            return
        for strike in _round(Random(f"{seed}:{turn}"), left):
            yield replace(strike, number=next(numbers))


def _round(rng: Random, size: int) -> list[Strike]:
    directed = [(boundary, action) for boundary in BOUNDARIES for action in (Action.KILL, Action.FREEZE)] + [(GAP, Action.FREEZE)]
    outside = [(target, action) for target, action, _ in WEIGHTS]
    rng.shuffle(directed)
    rng.shuffle(outside)
    rest = [pair for pair in directed if pair not in CLASSICS]
    strikes = [_at(rng, boundary, action) for boundary, action in CLASSICS[:size]]
    if size < ROUND:  # room for a part only: half of it from each side
        half = (size - len(strikes) + 1) // 2
        rest, outside = rest[:half], outside[: size - len(strikes) - min(half, len(rest))]
    strikes += [_at(rng, boundary, action) for boundary, action in rest]
    strikes += [_from_outside(rng, target, action) for target, action in outside]
    pairs, weights = [(target, action) for target, action, _ in WEIGHTS], [weight for _, _, weight in WEIGHTS]
    while len(strikes) < size:
        strikes.append(_from_outside(rng, *rng.choices(pairs, weights)[0]))
    rng.shuffle(strikes)
    strikes = [replace(strike, alone=_may_be_alone(strike) and rng.random() < 1 / 2) for strike in strikes]
    return sorted(strikes, key=lambda strike: not strike.alone)


def _may_be_alone(strike: Strike) -> bool:
    if strike.action is Action.FREEZE:
        return False
    return strike.boundary.point not in COORDINATION if strike.boundary else strike.target in {Target.CHILD, Target.RECOVER}


def _at(rng: Random, boundary: Boundary, action: Action) -> Strike:
    """Strike whoever passes `boundary`; every third death takes the whole worker along."""
    if action is Action.KILL and rng.random() < 1 / 3:
        action = Action.KILL_WORKER
    first = Boundary("effect:swap", "after") if boundary.point == "reconcile" else None
    slow = boundary.point == "renew_lease"
    inside = boundary.point.startswith("effect") or boundary == GAP
    return Strike(
        number=0,
        target=Target.BOUNDARY,
        action=action,
        boundary=boundary,
        first=first,
        dwell=1.0 if slow else round(rng.uniform(0, 0.2), 3),
        seconds=round(rng.uniform(0.3, 1.5), 3) + 2 * (boundary == GAP),
        late=inside or rng.random() < 2 / 3,
    )


def _from_outside(rng: Random, target: Target, action: Action) -> Strike:
    longest = {Target.DATABASE: 4.0, Target.VALKEY: 3.0}.get(target, 4.0)
    return Strike(
        number=0,
        target=target,
        action=action,
        dwell=round(rng.uniform(0.05, 0.8), 3),
        delay=round(rng.uniform(0.0, 1.5), 3),
        seconds=round(rng.uniform(0.5, longest), 3),
        late=target is Target.CHILD and rng.random() < 2 / 3,
    )
