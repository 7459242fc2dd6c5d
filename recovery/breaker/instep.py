"""Keeps a breaker in step with the fleet: takes in what the fleet says, and remembers what the fleet has not heard."""

from dataclasses import replace

from recovery.breaker.circuit import NOTHING_ORDERED, Ordered, at, closed, obeyed, opens_for, shifted, under
from recovery.breaker.fleet import Ended, FleetView, Order
from recovery.breaker.turnstile import Turnstile


class InStep(Turnstile):
    """A turnstile with the side that the fleet's connection calls, from any thread."""

    def apply(self, view: FleetView) -> None:
        """Take over the fleet's state, unless it is older than what is known here.

        A closed state does not undo what this process has counted but the fleet has not heard yet.
        """
        with self._lock:
            if view.version < self._version:
                return
            now = self.clock()
            self._pass_time(now)
            circuit = obeyed(shifted(view.circuit, now - view.now), now)
            if circuit.state == "closed" and self._circuit.state != "closed" and (self._unanswered or self._merged):
                circuit = replace(self._circuit, ordered=circuit.ordered)
            else:
                self._version = view.version
                self._opening = ""
                if circuit.state == self._circuit.state == "half_open" and not circuit.stage:
                    circuit = replace(circuit, permits=self._circuit.permits)
            own = self._own if circuit.state == "closed" and circuit.mode == "auto" else None
            self._stand(circuit, own, now)
            if self._window is not None:
                self._window.hear(view.in_a_row)
        self._notices.send()

    def answered(self, ended: Ended, view: FleetView | None) -> None:
        """Take the answer to what was told; None: the fleet did not hear it, the local view stands."""
        with self._lock:
            self._unanswered = max(0, self._unanswered - 1)
            if ended.result == "ok":
                self._unheard = None  # the run is over, heard or not
            elif ended.result == "failed" and view is None:
                calls = ended.calls + (self._unheard.calls if self._unheard and not ended.ok_before else 0)
                self._unheard = Ended("failed", calls, reason=ended.reason)
        if view is not None:
            self.apply(view)

    def take_merged(self) -> Ended | None:
        """Return once what was added up, when all that came before it is answered; None: nothing, or not yet."""
        with self._lock:
            if self._merged is None or self._unanswered:
                return None
            merged, self._merged = self._merged, None
            self._unanswered += 1
            return merged

    def take_summary(self) -> Ended | None:
        """Return once the successes that the fleet has not been told of, if it needs to know; None: nothing to tell."""
        with self._lock:
            successes = self.count_calls() - self._told
            if self._voting or not self.options.has_rates or self._window is None or successes <= 0:
                return None
            self._told += successes
            self._unanswered += 1
            return Ended("ok", successes)

    def went_alone(self) -> None:
        """Judge what was counted here: the fleet no longer does."""
        with self._lock:
            self._pass_time(self.clock())
            if self._window is not None:
                self._judge(self._window.counts(self.count_calls()), self.clock(), "")
        self._notices.send()

    def take_unheard(self) -> Ended | None:
        """Return once what the fleet must still count after an absence; None: nothing."""
        with self._lock:
            unheard, self._unheard = self._unheard, None
            tripped = self._opening if self._circuit.state == "open" else ""
            if self._voting or not (unheard or tripped):
                return None
            self._unanswered += 1
            return (unheard or Ended("failed", 0))._replace(tripped=tripped)

    def standing_vote(self) -> str | None:
        """Return why this process has it open for itself, None if it has not.

        Once its open time is over and nobody calls, None: an idle process does not know, and would vote for ever.
        """
        with self._lock:
            now = self.clock()
            if self._own is not None:
                self._move(at(self._own, self.options, now), now)  # the end of its ramp closes it, and withdraws the vote
            own = self._own
            knows = own is not None and (own.state != "open" or opens_for(own, now) > 0)
        self._notices.send()
        return own.reason if own is not None and knows else None

    def take_opening(self) -> str:
        """Return once why this process's own count opened the circuit, empty if it did not."""
        with self._lock:
            opening = "" if self._opening_taken else self._opening
            self._opening_taken = True
            return opening

    def order(self, order: Order) -> None:
        """Do what a person wants: for the fleet if it can be asked, else in this process until the fleet is back."""
        asked = self._fleet is not None and self._fleet.order(self._breaker, order)
        with self._lock:
            now = self.clock()
            self._pass_time(now)
            circuit = self._circuit
            if not asked:
                circuit = closed(under(circuit, NOTHING_ORDERED)) if order == "reset" else under(circuit, Ordered(order))
            if self._own is not None and self._fleet is not None:
                self._fleet.vote(self._breaker, None)
            if order == "reset":
                self._forget()
            self._stand(circuit, None, now)
        self._notices.send()
