"""Tells what a service is sick with, so that what a person did against it is not done again at the next report of it."""

from recovery.decide.facts import Facts
from recovery.detect.verdict import sick_checks
from recovery.models import fingerprint_of
from recovery.ports import Store


def sickness(store: Store, facts: Facts) -> str:
    """Return the fingerprint of the reports that a mitigation in place now is the answer to.

    One that nobody asked for answers the report that opened it. One that a person asked for was opened by none: it answers what
    the checks would report now, else what was reported while it was open. Where nothing was sick it answers no report, so that
    a precaution hides no outage.

    Args:
        store: where verdicts of checks are.
        facts: of the recovery that put it there.
    """
    recovery = facts.recovery
    if facts.unasked:
        return recovery.fingerprint
    verdicts = {check: state for (_, check), state in store.check_states([recovery.service]).items()}
    sick = sick_checks(facts.service, verdicts)
    if sick:
        return fingerprint_of(recovery.service, sick[0].category)
    return facts.failure.fingerprint if facts.failure else recovery.fingerprint
