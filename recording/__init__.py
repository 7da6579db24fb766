"""Permanent records of runs: Sacred's observers made safe, progress, artifacts. Part of the Sacred rim."""
