"""What every other package needs: errors, settings, randomness, files. Depends on torch and numpy only."""
