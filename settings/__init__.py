"""The settings of a run: declared, resolved with the recipe, checked, and made into what the run is built of."""
