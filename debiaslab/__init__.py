"""Debiasing methods for image classifiers: the repository's folders as one package.

In a clone, this folder holds links to the top level, so that `from debiaslab.methods import METHODS` means the same
there and where the package is installed.
"""

__version__ = "0.1.0"
