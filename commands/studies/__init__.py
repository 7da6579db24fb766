"""A study: methods x variants x seeds, each a run in a process of its own.

`words.py` reads what is asked for, `jobs.py` makes it checked runs, `recorded.py` finds what is recorded of them,
`runner.py` runs the others, and `overview.py` shows how far they are.
"""
