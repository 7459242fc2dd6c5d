"""What every declaration in `recovery.toml` is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=86_400 * 31)]
"""A duration above 0 and up to 31 days."""
SecondsOrZero = Annotated[float, Field(ge=0, le=86_400 * 31)]
"""A duration from 0 to 31 days."""


class Declaration(BaseModel):
    """Something written in `recovery.toml`; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
