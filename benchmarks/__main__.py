"""Run every benchmark, one after another, and print one table."""

from benchmarks import client_report, dispatch, memory, recovery_time, store
from benchmarks.run import run

if __name__ == "__main__":
    run([dispatch.measure, recovery_time.measure, memory.measure], [client_report.measure, store.measure])
