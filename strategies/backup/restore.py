"""The steps that restore data: choose a backup, stage a copy, set the original aside, put the copy in place."""

from dataclasses import dataclass
from pathlib import Path

from recovery.errors import StepFailed
from recovery.models import JsonObject
from recovery.ports import AttemptContext, StepWork
from strategies.backup import candidates, swap
from strategies.backup.candidates import Demands

MOST_NAMED = 10
"""Refused backups that a message names at most."""


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore of `path` from the backups at `backups`."""

    context: AttemptContext
    path: Path
    backups: Path
    demands: Demands
    timeout: float
    """Seconds that reading and copying may take."""

    def choose_step(self) -> StepWork:
        """Return the step that finds the newest backup that verifies; it only reads, so it may be repeated."""
        return StepWork("choose", lambda _intent: self._choose(), timeout=self.timeout)

    def stage_step(self) -> StepWork:
        """Return the step that copies the chosen backup beside the original and verifies the copy."""
        return StepWork("stage", self._stage, self._plan_staging, self._reconcile_staging, self.timeout)

    def set_aside_step(self) -> StepWork:
        """Return the step that keeps the broken original under another name."""
        return StepWork("set_aside", self._set_aside, self._plan_aside, self._reconcile_aside, self.timeout)

    def restore_step(self) -> StepWork:
        """Return the step that renames the verified copy over the original."""
        return StepWork("restore", self._put_in_place, self._plan_restoring, self._reconcile_restoring, self.timeout)

    def _choose(self) -> JsonObject:
        now = self.context.clock().timestamp()
        refused: list[str] = []
        for backup in candidates.find(self.backups):
            trouble = candidates.fault(backup, self.demands, now)
            if trouble is None:
                age = round(now - backup.stat().st_mtime, 1)
                return {"backup": str(backup), "sha256": candidates.digest(backup), "age": age, "refused": list(refused[:MOST_NAMED])}
            refused.append(f"{backup.name} {trouble}")
        if not refused:
            raise StepFailed(f"there is no backup at {self.backups}")
        more = f"; and {len(refused) - MOST_NAMED} more" if len(refused) > MOST_NAMED else ""
        raise StepFailed(f"no backup at {self.backups} verifies: {'; '.join(refused[:MOST_NAMED])}{more}")

    def _plan_staging(self) -> JsonObject:
        chosen = self.context.results["choose"]
        return {
            "backup": chosen["backup"],
            "sha256": chosen["sha256"],
            "staged": str(swap.staged_name(self.path, self.context.recovery.id)),
        }

    def _stage(self, intent: JsonObject) -> JsonObject:
        self.context.guard()
        staged, backup = Path(str(intent["staged"])), Path(str(intent["backup"]))
        swap.stage(backup, staged, self.path, self.demands.kind, str(intent["sha256"]))
        return {"staged": str(staged), "sha256": intent["sha256"]}

    def _reconcile_staging(self, intent: JsonObject) -> JsonObject | None:
        staged = Path(str(intent["staged"]))
        complete = staged.exists() and candidates.digest(staged) == intent["sha256"]
        return {"staged": str(staged), "sha256": intent["sha256"]} if complete else None

    def _plan_aside(self) -> JsonObject:
        return {"aside": str(swap.aside_name(self.path, self.context.clock())), "existed": self.path.exists()}

    def _set_aside(self, intent: JsonObject) -> JsonObject:
        self.context.guard()
        aside = Path(str(intent["aside"]))
        return {"kept": list(swap.set_aside(self.path, aside, self.demands.kind))}

    def _reconcile_aside(self, intent: JsonObject) -> JsonObject | None:
        aside = Path(str(intent["aside"]))
        return {"kept": [str(aside)]} if swap.is_set_aside(self.path, aside, self.demands.kind) else None

    def _plan_restoring(self) -> JsonObject:
        return {"staged": self.context.results["stage"]["staged"], "path": str(self.path)}

    def _put_in_place(self, intent: JsonObject) -> JsonObject:
        self.context.guard()
        swap.put_in_place(Path(str(intent["staged"])), self.path)
        return self._restored()

    def _reconcile_restoring(self, intent: JsonObject) -> JsonObject | None:
        """Nothing but the rename makes the copy vanish."""
        return self._restored() if not Path(str(intent["staged"])).exists() and self.path.exists() else None

    def _restored(self) -> JsonObject:
        return {"restored": str(self.path), "from": self.context.results["choose"]["backup"]}
