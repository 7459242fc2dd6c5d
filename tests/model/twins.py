"""The two worlds side by side: everything is done to both, and both must answer alike."""

from collections import Counter
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from typing import Any

from recovery.models import ServiceState, SilenceKind
from recovery.ports import Directive, Execute
from recovery.store.memory import MemoryStore
from recovery.store.sql import SqlStore
from tests.model.process import LIVES, Fate, Process
from tests.model.rows import empty, rows_in_database, rows_in_memory
from tests.model.side import Air, Side

BROKEN = {"reaper.broke", "attempt.broke", "undo.broke"}
"""What the log says where the engine survived an error of its own."""
MAIL = 8
"""Messages that are remembered, to be delivered late or twice."""


class Twins:
    """A world in memory and one on `database`, which is emptied first."""

    def __init__(self, database: SqlStore) -> None:
        empty(database)
        self.air = Air()
        self._memory, self._database = MemoryStore(), database
        self.sides = (Side(self._memory, self.air), Side(database, self.air))
        self._begun = 0
        self.touched = True
        """Whether anything was done since both were compared."""
        self._ends: Counter[str] = Counter()
        self.frozen: list[tuple[Process, Process]] = []
        self.mail: list[Execute] = []
        self.known: list[str] = []
        """Recoveries, oldest first."""
        self.log: list[MutableMapping[str, Any]] = []

    def both(self, work: Callable[[Side], object], fate: Fate = LIVES) -> object:
        """Do `work` in a process in each world; return what both said, None where they said nothing."""
        memory, database = self.sides
        self._begun += 1
        self.air.lacks_for -= 1
        return self.go_on((memory.process(self._begun, work), database.process(self._begun, work)), fate)

    def go_on(self, pair: tuple[Process, Process], fate: Fate = LIVES) -> object:
        """Let two frozen (or new) processes live on; keep them where they freeze."""
        self.touched = True
        over = [process.go(fate) for process in pair]
        answers = [process.answer for process in pair]
        for word, answer in answers:
            if word == "broke":
                assert isinstance(answer, BaseException)
                raise AssertionError(f"{type(answer).__name__}: {answer}") from answer
        assert over[0] == over[1], f"one is over, the other one is not: {answers}"
        assert answers[0] == answers[1], f"the worlds answer differently: {answers[0]} and {answers[1]}"
        self._ends[f"process {answers[0][0]}"] += 1
        if not over[0]:
            self.frozen.append(pair)
            return None
        word, answer = answers[0]
        self._take(answer if word == "said" else None)
        return answer if word == "said" else None

    def _take(self, answer: object) -> None:
        """Remember the recoveries and the messages in an answer."""
        for each in answer if isinstance(answer, list | tuple) else [answer]:
            if isinstance(each, Directive) and each.recovery_id not in self.known:
                self.known.append(each.recovery_id)
            if isinstance(each, Execute):
                self.mail = [*(message for message in self.mail if message != each), each][-MAIL:]

    def agree(self) -> None:
        """Compare both worlds row by row, and judge them by the laws."""
        ours, theirs = rows_in_memory(self._memory), rows_in_database(self._database)
        differences = ours.differences(theirs)
        assert not differences, "\n".join(differences)
        memory, database = self.sides
        assert memory.laws.fences == database.laws.fences
        memory.laws.look(ours)
        for row in ours.recoveries:
            if row not in self.known:
                self.known.append(row)
        broken = [line for line in self.log if line["event"] in BROKEN]
        assert not broken, broken
        self.log.clear()
        self.touched = False

    def reached(self) -> Counter[str]:
        """Return what happened so far: ways from state to state, guards that decided, side effects, and what became of processes."""
        guards = (f"guard {decision.guard}" for decision in self._memory.decisions)
        return self.sides[0].laws.reached + self._ends + Counter(guards)

    def open(self) -> list[str]:
        """Return the recoveries that are open."""
        return [row.id for row in self._memory.open_recoveries()]

    def asked(self) -> list[str]:
        """Return the recoveries whose question was put to people, answered or not."""
        return [recovery_id for recovery_id in self.known if self._memory.approval(recovery_id)]

    def state_of(self, service: str) -> ServiceState:
        """Return what the last sweep saw."""
        return self._memory.service_states().get(service, ServiceState(service))

    def paused(self) -> bool:
        """Say whether the kill switch is on."""
        return any(silence.kind is SilenceKind.KILL_SWITCH for silence in self._memory.silences(self.air.now))

    def renew(self, which: int) -> None:
        """Let a frozen process renew the lease that it has, if any."""
        leases = [process.lease for process in self.frozen[which]]
        assert leases[0] == leases[1]
        lease, until = leases[0], self.air.now + timedelta(seconds=10)
        if lease is not None:
            self.both(lambda side: side.at_work.renew_lease(lease, until))

    def bury(self) -> None:
        """End every process that is frozen."""
        for pair in self.frozen:
            for process in pair:
                process.kill()
        self.frozen.clear()


def carry_out(side: Side, message: Execute) -> Directive | None:
    """Do what the task of a strategy does."""
    if side.executor.run(message.recovery_id, message.attempt) is None:
        return None
    return side.advance(message.recovery_id)


def tick(side: Side) -> list[Directive]:
    """Do what the tick does, without the messages that it sends."""
    return side.reaper.tick()


def tick_and_work(side: Side) -> list[Directive]:
    """Do what the tick and the tasks that it sends do, until nothing is left to be done now."""
    return [last for directive in side.reaper.tick() if (last := _follow(side, directive))]


def _follow(side: Side, directive: Directive | None) -> Directive | None:
    while isinstance(directive, Execute):
        directive = carry_out(side, directive)
    return directive


def restore(side: Side) -> list[Directive]:
    """Do what a sweep does about mitigations of services that are well."""
    return [side.advance(accepted.recovery.id) for accepted in side.desk.restore_all()]
