"""A plan: the ordered strategies of a recovery, and those left out."""

from pydantic import BaseModel, ConfigDict

from recovery.models.words import Action


class PlannedAttempt(BaseModel):
    """One strategy in a plan, or a strategy left out with the reason."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    strategy: str
    queue: str
    action: Action = Action.APPLY
    priority: int = 0
    """Larger runs first; follows the order of the plan."""
    why: str = ""


class LeftOut(BaseModel):
    """A strategy that the plan does without, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    strategy: str
    why: str


class Plan(BaseModel):
    """The ordered attempts of a recovery."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempts: tuple[PlannedAttempt, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    estimated_seconds: float = 0.0
    """From this service's own history, else the strategies' declared typical times."""
    rollback: tuple[str, ...] = ()
    """Strategies whose effects are undone if everything fails, last first."""
    source: str = "default"
    """Where the order came from: `default`, `service`, `manual`, `restore`."""
