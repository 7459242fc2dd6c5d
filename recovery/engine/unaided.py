"""Lets the engine act while Redis is away, for emergencies only: cooldown locks count as free, remedies that need Redis fail at once."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed, StoreUnavailable
from recovery.models import Action, Category, JsonObject
from recovery.ports import AttemptContext, Cooldowns, StepWork, Strategy
from recovery.registry import Registry

P = ParamSpec("P")
R = TypeVar("R")


class FreeCooldowns:
    """Cooldown locks as far as they can be had; from the first time they cannot, every lock counts as free.

    Args:
        locks: the real ones.
    """

    def __init__(self, locks: Cooldowns) -> None:
        self._locks: Cooldowns | None = locks

    def acquire(self, service: str, strategy: str, holder: str, seconds: float) -> bool:
        """Take the lock; True without one."""
        return self._asked(lambda locks: locks.acquire(service, strategy, holder, seconds), otherwise=True)

    def remaining(self, service: str, strategies: Collection[str]) -> dict[str, float]:
        """Return the seconds left of each lock that is known."""
        nothing: dict[str, float] = {}
        return self._asked(lambda locks: locks.remaining(service, strategies), otherwise=nothing)

    def release(self, service: str, strategy: str, holder: str) -> None:
        """Free the lock if it can be reached."""
        self._asked(lambda locks: locks.release(service, strategy, holder), otherwise=None)

    def _asked(self, question: Callable[[Cooldowns], R], *, otherwise: R) -> R:
        if self._locks is None:
            return otherwise
        try:
            return question(self._locks)
        except StoreUnavailable:
            self._locks = None  # asking again would cost the time limit of a connection each time
            return otherwise


class Unaided:
    """A strategy whose steps fail when Redis is away, instead of waiting for its return: the next strategy is tried.

    Args:
        strategy: the real one.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.name = strategy.name
        self.queue = strategy.queue
        self.priority = strategy.priority
        self.typical_seconds = strategy.typical_seconds
        self.options = strategy.options
        self.lapses = strategy.lapses

    def refuses(self, service: ServiceDeclaration, category: Category) -> str | None:
        """Ask the strategy."""
        return self._strategy.refuses(service, category)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Ask the strategy."""
        return self._strategy.verify_with(service, action)

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Ask the strategy."""
        return self._strategy.mitigates_for(service)

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the strategy's steps, each of which fails rather than waits."""
        return [_impatient(work) for work in self._strategy.steps(context, action)]


def unaided(strategies: Registry[Strategy]) -> Registry[Strategy]:
    """Return the same strategies, each of which does without Redis or fails."""
    found: Registry[Strategy] = Registry(strategies.family)
    for name, strategy in strategies.items():
        found.add(name, Unaided(strategy))
    return found


def _impatient(work: StepWork) -> StepWork:
    undo = work.undo

    def undone(intent: JsonObject, result: JsonObject | None) -> StepWork | None:
        back = undo(intent, result) if undo else None
        return _impatient(back) if back else None

    return replace(
        work,
        prepare=_failing(work.prepare),
        run=_failing(work.run),
        reconcile=_failing(work.reconcile),
        undo=undone if undo else None,
    )


def _failing(act: Callable[P, R]) -> Callable[P, R]:
    """Let `act` fail its step where it would wait for a store. If it is the database that is away, the journal's own write says so."""

    def acted(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return act(*args, **kwargs)
        except StoreUnavailable as error:
            raise StepFailed(error.message) from error

    return acted
