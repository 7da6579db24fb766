"""Replays of numbers that the authors' own code produced. `python -m tests.golden FILE [FILE...]`"""
