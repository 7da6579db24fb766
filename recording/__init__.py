"""Record runs: robust versions of Sacred's observers, progress, artifacts. Depends on Sacred."""
