"""Thousands of damaged inputs, each of which must end in a result or in one line: `python -m tests.fuzz records`."""
