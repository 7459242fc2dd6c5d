"""Strategy `cache_rebuild`: replace the corrupted entries of a cache from the authoritative source, and touch no others."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from recovery.config.base import Seconds
from recovery.config.durations import TakesTime
from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.integrity import IntegrityRule, fault
from recovery.models import Action, Category, JsonObject
from recovery.ports import AttemptContext, StepWork
from strategies.cache.entries import Corrupted, Entries, Replaced
from strategies.cache.source import Source, fetch
from strategies.collaborators import Collaborators
from strategies.retrying import BRIEFLY
from strategies.spelling import RedisUrl

MOST_NAMED = 20
"""Corrupted keys that a result names at most."""
LOCK_MARGIN = 30.0
"""Seconds that the single-flight lock outlives the time limit of the step."""


class CacheRebuildOptions(BaseModel):
    """`[services.X.remedies.cache_rebuild]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[RedisUrl, Field(repr=False)]
    """The cache, a Redis or Valkey."""
    match: str = Field(default="*", min_length=1)
    """Which keys are its entries, as in `SCAN MATCH`."""
    rule: IntegrityRule = Field(default_factory=IntegrityRule)
    """What a sound entry looks like; use the same as the service's `cache` check."""
    source: Source
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Keys that are looked at, fetched and replaced at once."""
    timeout: Annotated[Seconds, TakesTime()] = 120.0
    """Seconds that looking through the cache, or rebuilding it, may take."""
    answer_timeout: Seconds = 5.0
    """Seconds that the cache may take to answer one command."""


class CacheRebuild:
    """Find, rebuild, verify. What was replaced stays replaced: a successor rebuilds only what is still corrupted."""

    name = "cache_rebuild"
    queue = "cache_rebuild"
    priority = 70
    typical_seconds = 3.0
    options: type[BaseModel] = CacheRebuildOptions
    lapses = True

    def __init__(self, _collaborators: Collaborators) -> None:
        """Need nothing: the cache and its source are in the options."""

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services that declare no source to rebuild from."""
        return None if self.name in service.remedies else "the service does not declare the remedy 'cache_rebuild'"

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return find, rebuild, verify; nothing takes a rebuild back."""
        if action is Action.REVERT:
            return ()
        options = CacheRebuildOptions.model_validate(context.service.remedies[self.name])
        work = _Rebuild(context, options)
        return (
            StepWork("find", lambda _intent: work.find(), timeout=options.timeout, retry=BRIEFLY),
            StepWork(
                "rebuild",
                run=lambda _intent: work.rebuild(),
                prepare=work.intend,
                reconcile=lambda _intent: work.reconcile(),
                timeout=options.timeout,
                retry=BRIEFLY,
            ),
            StepWork("verify", lambda _intent: work.verify(), timeout=options.timeout),
        )

    def verify_with(self, _service: ServiceDeclaration, _action: Action) -> tuple[str, ...] | None:
        """Verify with all of the service's own checks."""
        return None

    def mitigates_for(self, _service: ServiceDeclaration) -> float | None:
        """Resolve: a verified rebuild needs no follow-up."""
        return None


class _Rebuild:
    """One rebuild of one cache."""

    def __init__(self, context: AttemptContext, options: CacheRebuildOptions) -> None:
        self._context = context
        self._options = options

    def find(self) -> JsonObject:
        """Count the entries and name the corrupted ones."""
        looked_at, corrupted = self._look(lambda _entries, _found: None)
        named = {_name(entry): entry.fault for entry in corrupted[:MOST_NAMED]}
        return {"entries": looked_at, "corrupted": len(corrupted), "keys": {**named}}

    def intend(self) -> JsonObject:
        """Return what is about to be rebuilt."""
        return {"corrupted": self._context.results["find"]["corrupted"]}

    def rebuild(self) -> JsonObject:
        """Fetch and replace the corrupted entries, batch by batch."""
        options, fence = self._options, self._context.fence
        total = Replaced()

        def replace(entries: Entries, found: list[Corrupted]) -> None:
            nonlocal total
            values = fetch(options.source, [entry.key for entry in found], options.rule)
            self._context.guard()
            total += entries.replace(found, values, fence)

        self._context.guard()
        with closing(self._entries()) as lock, lock.held(fence, options.timeout + LOCK_MARGIN):
            self._look(replace)
        return {"replaced": total.replaced, "dropped": total.dropped, "changed_meanwhile": total.changed}

    def reconcile(self) -> JsonObject | None:
        """Return a result if nothing is corrupted any more; else what is left is rebuilt, also where nobody can look now."""
        try:
            looked_at, corrupted = self._look(lambda _entries, _found: None)
        except StepFailed:
            return None
        return None if corrupted else {"entries": looked_at, "corrupted": 0}

    def verify(self) -> JsonObject:
        """Require that no entry is corrupted."""
        looked_at, corrupted = self._look(lambda _entries, _found: None)
        if corrupted:
            first = corrupted[0]
            raise StepFailed(f"{len(corrupted)} of {looked_at} entries are still corrupted, such as '{_name(first)}', which {first.fault}")
        return {"entries": looked_at, "corrupted": 0}

    def _entries(self) -> Entries:
        options = self._options
        return Entries(self._context.service.name, options.url, options.match, options.answer_timeout)

    def _look(self, use: Callable[[Entries, list[Corrupted]], None]) -> tuple[int, list[Corrupted]]:
        """Look through the cache, hand every batch of corrupted entries to `use`; return how many there are, and the corrupted ones."""
        looked_at, corrupted = 0, list[Corrupted]()
        with closing(self._entries()) as entries:
            for count, found in entries.scan(lambda value: fault(value, self._options.rule), self._options.batch):
                looked_at += count
                corrupted += found
                if found:
                    use(entries, found)
        return looked_at, corrupted


def _name(entry: Corrupted) -> str:
    return entry.key.decode("utf-8", "backslashreplace")
