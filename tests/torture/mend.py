"""The remedy of the torture patients, written as a good strategy is: look, ask the guard, act once, and be able to tell afterwards."""

import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.models import Action, Category, JsonObject
from recovery.ports import AttemptContext, StepWork
from tests.torture.ledger import Entry, Phase
from tests.torture.patient import STEPS, Patient
from tests.torture.points import pass_by


class MendOptions(BaseModel):
    """`[services.X.remedies.mend]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ledger: Path
    fenced: bool


class Mend:
    """Three steps, each one line in the patient's ledger."""

    name = "mend"
    queue = "restart"
    priority = 100
    typical_seconds = 1.0
    options: type[BaseModel] = MendOptions
    lapses = True

    def __init__(self, _collaborators: object) -> None:
        """Need nothing of the platform: what is mended is a file."""

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        return None if self.name in service.remedies else "it has no ledger"

    def verify_with(self, _service: ServiceDeclaration, _action: Action) -> tuple[str, ...] | None:
        return None

    def mitigates_for(self, _service: ServiceDeclaration) -> float | None:
        return None

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        if action is not Action.APPLY:
            return ()
        options = MendOptions.model_validate(context.service.remedies[self.name])
        patient = Patient(options.ledger, fenced=options.fenced)
        return tuple(_step(context, patient, name) for name in STEPS)


def _step(context: AttemptContext, patient: Patient, name: str) -> StepWork:
    where = {"service": patient.name, "recovery": context.recovery.id, "fence": context.fence}

    def deed(asked: float = 0.0) -> Entry:
        return Entry(
            at=time.time(),
            service=patient.name,
            phase=Phase.BEGUN,
            recovery=context.recovery.id,
            attempt=context.attempt,
            step=name,
            fence=context.fence,
            asked=asked,
        )

    def run(intent: JsonObject) -> JsonObject:
        patient.begun(deed())
        time.sleep(float(str(intent["dwell"])))
        pass_by(f"effect:{name}", "before", **where)  # type: ignore[arg-type] # mypy does not look into the dict
        asked = time.time()
        context.guard()
        if patient.fenced:
            pass_by("gap", "before", **where)  # type: ignore[arg-type] # the same
        if not patient.act(deed(asked)):
            raise StepFailed(f"{patient.name} has seen a newer fence than {context.fence}")
        pass_by(f"effect:{name}", "after", **where)  # type: ignore[arg-type] # the same
        return {"asked": asked}

    def reconcile(_intent: JsonObject) -> JsonObject | None:
        pass_by("reconcile", "before", **where)  # type: ignore[arg-type] # the same
        found = patient.reconcile(deed())
        pass_by("reconcile", "after", **where)  # type: ignore[arg-type] # the same
        return {"found": True} if found else None

    return StepWork(name, run, lambda: {"dwell": patient.dwell()}, reconcile)
