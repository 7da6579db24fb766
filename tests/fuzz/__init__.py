"""Odd and damaged inputs, each of which must end in a result or in one line, and kills: `python -m tests.fuzz KIND`."""
