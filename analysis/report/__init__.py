"""One self-contained page that shows recorded runs: leaderboard, runs, curves, groups, pictures."""
