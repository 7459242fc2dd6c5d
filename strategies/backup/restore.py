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
        return StepWork("stage", self._stage, self._plan_staging, self._reconcile_staging, self.timeout, undo=self._unstage)

    def set_aside_step(self) -> StepWork:
        """Return the step that keeps the broken original under another name."""
        return StepWork("set_aside", self._set_aside, self._plan_aside, self._reconcile_aside, self.timeout, undo=self._put_aside_back)

    def restore_step(self) -> StepWork:
        """Return the step that renames the verified copy over the original."""
        return StepWork("restore", self._put_in_place, self._plan_restoring, self._reconcile_restoring, self.timeout, undo=self._unrestore)

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
        return {"aside": str(aside), "kept": list(swap.set_aside(self.path, aside, self.demands.kind))}

    def _reconcile_aside(self, intent: JsonObject) -> JsonObject | None:
        aside = Path(str(intent["aside"]))
        return {"aside": str(aside), "kept": [str(aside)]} if swap.is_set_aside(self.path, aside, self.demands.kind) else None

    def _plan_restoring(self) -> JsonObject:
        aside = str(self.context.results["set_aside"]["aside"])
        existed = Path(aside).exists()
        return {"staged": self.context.results["stage"]["staged"], "path": str(self.path), "aside": aside, "existed": existed}

    def _put_in_place(self, intent: JsonObject) -> JsonObject:
        self.context.guard()
        swap.put_in_place(Path(str(intent["staged"])), self.path)
        return self._restored()

    def _reconcile_restoring(self, intent: JsonObject) -> JsonObject | None:
        """Nothing but the rename makes the copy vanish."""
        return self._restored() if not Path(str(intent["staged"])).exists() and self.path.exists() else None

    def _restored(self) -> JsonObject:
        return {"restored": str(self.path), "from": self.context.results["choose"]["backup"]}

    def _unstage(self, intent: JsonObject, _result: JsonObject | None) -> StepWork:
        """Remove the copy, whole or in part."""
        staged = Path(str(intent["staged"]))

        def run(_intent: JsonObject) -> JsonObject:
            self.context.guard()
            swap.discard(staged)
            return {"removed": str(staged)}

        return StepWork(
            "unstage", run, reconcile=lambda _intent: None if staged.exists() else {"removed": str(staged)}, timeout=self.timeout
        )

    def _put_aside_back(self, intent: JsonObject, _result: JsonObject | None) -> StepWork:
        """Put back what was set aside, whole or in part."""
        aside, kind = Path(str(intent["aside"])), self.demands.kind
        back: JsonObject = {"put_back": str(self.path)}

        def run(_intent: JsonObject) -> JsonObject:
            self.context.guard()
            swap.put_back(self.path, aside, kind)
            return back

        return StepWork("put_back", run, reconcile=lambda _intent: None if swap.is_aside(aside, kind) else back, timeout=self.timeout)

    def _unrestore(self, intent: JsonObject, result: JsonObject | None) -> StepWork | None:
        """Put the original back; what was restored is kept, somebody may have written to it."""
        aside, existed = Path(str(intent["aside"])), bool(intent["existed"])

        def prepare() -> JsonObject:
            return {"kept": str(swap.aside_name(self.path, self.context.clock(), "undone"))}

        def run(found: JsonObject) -> JsonObject:
            self.context.guard()
            swap.set_aside(self.path, Path(str(found["kept"])), self.demands.kind)
            if existed:
                swap.put_in_place(aside, self.path)
            else:
                swap.discard(self.path)
            return {"put_back": str(self.path) if existed else None, "kept": found["kept"]}

        def reconcile(found: JsonObject) -> JsonObject | None:
            is_back = not aside.exists() if existed else not self.path.exists()
            return {"put_back": str(self.path) if existed else None, "kept": found["kept"]} if is_back else None

        return StepWork("unrestore", run, prepare, reconcile, self.timeout) if result is not None else None
