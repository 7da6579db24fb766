"""Speed measurements. `python -m benchmarks [NAME...]`; never part of the tests."""
