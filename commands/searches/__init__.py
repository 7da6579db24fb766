"""A search for hyper-parameters: each trial a run in a process of its own.

`words.py` reads what is asked for, `space.py` the ranges, `plan.py` makes them a checked plan, `trials.py` shares the
trials with other workers, `worker.py` runs them.
"""
