"""The settings of a run: declarations, recipes, checks, and the objects that a run is built from."""
