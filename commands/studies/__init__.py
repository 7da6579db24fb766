"""Studies: methods x variants x seeds, each a run in a separate process.

`words.py` parses the options, `jobs.py` makes checked jobs of them, `recorded.py` finds existing runs, `runner.py` runs
the others, and `overview.py` shows the progress.
"""
