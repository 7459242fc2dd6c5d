"""Measurements, each beside what else one could do, in the same run: `python -m benchmarks`, or one: `python -m benchmarks.memory`."""
