"""Takes answers to the question whether a recovery may act. The first answer wins; everybody after it is told who was first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.engine.chronicle import tell
from recovery.errors import ApprovalRefused, RecoveryNotFound, listing
from recovery.models import Answer, Approval, AttemptState, Event, JsonObject, Recovery, RecoveryState
from recovery.ports import Clock, Store

LONGEST_NAME = 200
"""Characters of the name of a person."""
LONGEST_TEXT = 1_000
"""Characters of a comment or a reason."""


@dataclass(frozen=True, slots=True)
class Question:
    """A recovery that waits for somebody's yes or no."""

    recovery: Recovery
    approval: Approval
    strategies: tuple[str, ...]
    """What would be tried, in order, after a yes."""


class Consent:
    """The one place where questions are answered.

    Args:
        store: where questions and answers are written down; it decides who was first.
        fleet: returns the configuration in force, which says who may answer.
        clock: returns the current time.
    """

    def __init__(self, store: Store, fleet: Callable[[], Fleet], clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._clock = clock

    def questions(self) -> list[Question]:
        """Return what waits for an answer now, the most urgent first."""
        now = self._clock()
        waiting = [row for row in self._store.open_recoveries() if row.state is RecoveryState.AWAITING_APPROVAL]
        asked = [(row, approval) for row in waiting if (approval := self._store.approval(row.id))]
        return [Question(row, approval, self._ahead(row)) for row, approval in asked if approval.answer is None and approval.until > now]

    def answer(self, recovery_id: str, answer: Answer, by: str, comment: str = "") -> Approval:
        """Answer the question of a recovery and return it as it stands.

        Args:
            recovery_id: a full id, or a unique prefix of at least 6 characters.
            answer: yes or no.
            by: who answers; one of the declared `approvers` if there are any. Taken on trust: who can reach the database is let in.
            comment: goes into the history.

        Raises:
            RecoveryNotFound: no recovery has this id.
            ApprovalRefused: not an approver, never asked, closed, lapsed, or answered before (`approval` in its payload is that answer).
        """
        now, name, said = self._clock(), tidy(by, LONGEST_NAME), tidy(comment, LONGEST_TEXT)
        recovery = self._store.recovery(recovery_id)
        if recovery is None:
            raise RecoveryNotFound(f"no recovery has the id {recovery_id}", recovery_id=recovery_id)
        self._require_approver(recovery, answer, name, now)
        stands = self._store.answer(recovery.id, answer, name, said, now)
        self._require_counted(recovery, stands, answer, name, now)
        data: JsonObject = {"by": name, "comment": said}
        given = Event(f"recovery:{answer}", now, recovery.service, recovery.id, data)
        self._store.record(events=[given])
        self._store.audit(str(answer), name, {"recovery_id": recovery.id, "service": recovery.service, "comment": said}, now)
        tell([given])
        assert stands is not None
        return stands

    def _ahead(self, recovery: Recovery) -> tuple[str, ...]:
        done = {attempt.strategy for attempt in self._store.attempts(recovery.id) if attempt.state is AttemptState.FINISHED}
        return tuple(planned.strategy for planned in recovery.plan.attempts if planned.strategy not in done)

    def _require_approver(self, recovery: Recovery, answer: Answer, by: str, now: datetime) -> None:
        approvers = self._fleet().platform.approvers
        if not by:
            raise ApprovalRefused("an answer needs the name of whoever gives it")
        if approvers and by not in approvers:
            detail: JsonObject = {
                "recovery_id": recovery.id,
                "service": recovery.service,
                "answer": str(answer),
                "reason": "not an approver",
            }
            self._store.audit("answer_refused", by, detail, now)
            raise ApprovalRefused(f"'{by}' may not answer: the approvers declared in recovery.toml are {listing(approvers)}")

    def _require_counted(self, recovery: Recovery, stands: Approval | None, answer: Answer, by: str, now: datetime) -> None:
        """Raise with what stands in the place of this answer, unless it is the one that counts."""
        asked = stands or self._store.approval(recovery.id)
        named = f"recovery {recovery.id[:8]} of {recovery.service}"
        if asked is None:
            raise ApprovalRefused(f"{named} asks nobody: it {'is' if recovery.state.is_open else 'ended as'} {_word(recovery.state)}")
        if asked.answer is not None and (asked.answered_by, asked.answered_at, asked.answer) != (by, now, answer):
            when = f" at {asked.answered_at:%H:%M:%S} UTC" if asked.answered_at else ""
            comment = f" ({asked.comment})" if asked.comment else ""
            raise ApprovalRefused(
                f"{named} was {asked.answer} by {asked.answered_by}{when}{comment}; the first answer counts", approval=asked
            )
        if stands is None:
            raise ApprovalRefused(f"{named} is closed ({recovery.state}): there is nothing to answer any more")
        if stands.answer is None:
            raise ApprovalRefused(f"the question for {named} lapsed at {stands.until:%H:%M:%S} UTC; `recovery why {recovery.service}`")


def _word(state: RecoveryState) -> str:
    return str(state).replace("_", " ")


def tidy(text: str, longest: int) -> str:
    """Return what a person typed as one printable line of at most `longest` characters."""
    line = " ".join(text.split())[:longest]
    return "".join(each if each.isprintable() else "?" for each in line)
