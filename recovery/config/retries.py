"""`[services.NAME.retry.STRATEGY]`: how the steps of a strategy are tried again."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recovery.backoff import Jitter

Wait = Annotated[float, Field(gt=0, le=3_600)]
"""Seconds, above 0 and up to an hour."""


class RetryDeclaration(BaseModel):
    """Waits between the tries of a step; takes the place of what the strategy says by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Tries of each step at most, the first one included; 1: no retry."""
    policy: Literal["exponential", "linear", "adaptive"] = "exponential"
    initial: Wait = 0.5
    """Seconds of the first wait."""
    multiplier: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Factor from one wait to the next (`exponential`, `adaptive`)."""
    increment: Annotated[float, Field(ge=0, le=3_600)] = 0.5
    """Seconds from one wait to the next (`linear`)."""
    max: Wait = 10.0
    """Seconds; no wait is longer."""
    jitter: Jitter = Jitter.FULL
    per_window: Annotated[int, Field(ge=1, le=100)] | None = None
    """Tries that may begin within `window`; default: any number."""
    window: Wait = 60.0
    """Seconds."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.initial > self.max:
            raise ValueError(f"'initial' ({self.initial:g} s) is longer than 'max' ({self.max:g} s)")
        return self
