"""Query recorded runs, and make tables, figures and reports."""
