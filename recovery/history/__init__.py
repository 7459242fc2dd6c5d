"""What happened, for people: overviews, stories, reasons, statistics, and forgetting in time."""

from sqlalchemy import Engine

from recovery.history.figures import Availability, Held, MeanTime, Rate, ServiceFigures, Spread, Stats, StrategyFigures
from recovery.history.retention import Pruned, Retention
from recovery.history.statistics import Statistics
from recovery.history.stories import Stories
from recovery.history.views import NotedDecision, NotedEvent, RefusedReport, ServiceOverview, Story

__all__ = [
    "Availability",
    "Held",
    "History",
    "MeanTime",
    "NotedDecision",
    "NotedEvent",
    "Pruned",
    "Rate",
    "RefusedReport",
    "ServiceFigures",
    "ServiceOverview",
    "Spread",
    "Stats",
    "Story",
    "StrategyFigures",
]


class History(Stories, Statistics, Retention):
    """Ask the history of one database. Every method may raise `StoreUnavailable`.

    Args:
        engine: from `recovery.store.engine.open_engine`, on a migrated database.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
