"""Collects what a campaign left behind: the reports' fate, the ledgers, the grants, the journal, and what the database noted."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Engine, select

from recovery.store.schema import failures, recoveries, steps
from tests.torture import witness
from tests.torture.house import House
from tests.torture.judge import Evidence, Grant, Report
from tests.torture.ledger import lines, read


def reports_known(engine: Engine) -> dict[str, str]:
    """Return failure id -> recovery of every report that was taken in."""
    with engine.connect() as connection:
        return {
            str(failure): str(recovery) for failure, recovery in connection.execute(select(failures.c.failure_id, failures.c.recovery_id))
        }


def collect(house: House, engine: Engine, delivered: Mapping[str, str], left: Sequence[str]) -> Evidence:
    """Return the evidence of a campaign.

    Args:
        house: of the campaign.
        engine: on its database.
        delivered: failure id -> service of the reports that were acknowledged.
        left: what was still to be done at the end, in sentences.
    """
    known, folder = reports_known(engine), house.folder
    with engine.connect() as connection:
        states = {str(id_): state for id_, state in connection.execute(select(recoveries.c.id, recoveries.c.state))}
        rows = connection.execute(select(steps.c.recovery_id, steps.c.attempt, steps.c.name)).all()
    ledgers = [patient.ledger for patient in house.patients.values() if patient.ledger.exists()]
    return Evidence(
        reports=[
            Report(failure, service, known.get(failure), states.get(known.get(failure, ""))) for failure, service in delivered.items()
        ],
        entries=[entry for ledger in ledgers for entry in read(ledger.read_text())],
        grants=[Grant(float(str(line["at"])), str(line["service"]), int(str(line["fence"]))) for line in lines(folder / "granted.jsonl")],
        writes=witness.testify(engine),
        journal=frozenset((recovery, attempt, name) for recovery, attempt, name in rows),
        early=list(lines(folder / "early.jsonl")),
        open=tuple(left),
        recoveries=len(states),
    )
