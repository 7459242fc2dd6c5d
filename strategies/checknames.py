"""How remedies name the checks that they verify or probe with."""

from typing import Annotated

from pydantic import StringConstraints

CheckName = Annotated[str, StringConstraints(pattern=r"^[^.\s][^\s]*\.[^\s]+$")]
"""`service.check`."""
