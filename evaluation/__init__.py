"""Group counts, metrics, selection rules, history and diagnostics: what is measured, without any training."""
