"""Scripts that are run by hand: studies, the demonstration, the photographs of the tutorial."""
