"""What every other package needs: errors, settings, randomness, files. Depends on torch and numpy only."""

import os

# OpenMP's threads spin while they wait for each other; beside other busy processes that makes small steps six times
# slower. Read when torch is imported, so a program imports this package first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
