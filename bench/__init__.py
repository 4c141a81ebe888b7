"""Benchmarks: ``python -m bench --small``. What each measures, and how to read it: README.md."""
