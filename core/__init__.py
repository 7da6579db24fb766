"""What every other package needs: errors, settings, randomness, files. Depends on torch and numpy only."""

import os

# OpenMP's threads spin while they wait for each other, by default so long that small steps become many times slower
# beside other busy processes. A short spin keeps most of the speed on an idle machine. Read when torch is imported, so
# a program imports this package first.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
