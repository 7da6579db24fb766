"""Group counts, metrics, selection rules, history and diagnostics; independent of training."""
