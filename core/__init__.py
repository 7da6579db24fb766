"""Shared by all other packages: errors, settings, randomness, files. Depends on torch and numpy only."""
