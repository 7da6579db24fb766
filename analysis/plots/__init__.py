"""Pictures: those that a run leaves behind (`run.py`), and one file for each kind that `main.py plots` draws.

Only what a run needs is imported here; the other kinds import pandas.
"""

from debiaslab.analysis.plots.figure import COLORS, new_figure, save_figure
from debiaslab.analysis.plots.run import has_diagnostics, save_curves, save_diagnostics

__all__ = ["COLORS", "has_diagnostics", "new_figure", "save_curves", "save_diagnostics", "save_figure"]
