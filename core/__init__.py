"""What every other package needs: errors, settings, randomness, files. Depends on torch and numpy only."""

import os

# OpenMP's threads spin while they wait for each other, by default so long that small steps become many times slower
# beside other busy processes. A short spin keeps most of the speed on an idle machine. Read when torch is imported, so
# a program imports this package first.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Every large tensor of PyTorch's on the CPU is new memory, which the system hands out, cleared, page by page: of 4 KiB,
# that takes several times as long as to write the values. Linux hands it out in pages of 2 MiB to those who ask.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
