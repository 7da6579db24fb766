"""Figures: those that a run records (`run.py`), and one file for each kind of `main.py plots`.

Only what a run needs is imported here; the other kinds import pandas.
"""

from debiaslab.analysis.plots.figure import COLORS, new_figure, save_figure
from debiaslab.analysis.plots.run import has_diagnostics, save_curves, save_diagnostics

__all__ = ["COLORS", "has_diagnostics", "new_figure", "save_curves", "save_diagnostics", "save_figure"]
