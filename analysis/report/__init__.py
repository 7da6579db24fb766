"""A self-contained HTML page of recorded runs: leaderboard, runs, curves, groups, images."""
