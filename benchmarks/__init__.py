"""Measurements, each against a named rival in the same run; ``make bench`` writes ``docs/benchmarks.md``."""
