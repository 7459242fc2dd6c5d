"""Run every benchmark, one after another, and print one table."""

from benchmarks import (
    breaker,
    breaker_shared,
    claims,
    client_import,
    client_report,
    dispatch,
    flags,
    history,
    locks,
    memory,
    recovery_time,
    store,
    storm,
)
from benchmarks.run import run

if __name__ == "__main__":
    run(
        [dispatch.measure, recovery_time.measure, memory.measure, storm.measure],
        [
            storm.measure_stream,
            client_report.measure,
            breaker.measure,
            breaker_shared.measure,
            client_import.measure,
            flags.measure,
            store.measure,
            claims.measure,
            locks.measure,
            history.measure,
        ],
    )
