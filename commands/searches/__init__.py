"""Hyper-parameter search: each trial is a run in a separate process.

`words.py` parses the options, `space.py` the ranges, `plan.py` makes a checked plan of them, `trials.py` shares the
trials with other workers, `worker.py` runs them.
"""
