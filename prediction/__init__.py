"""Use trained networks: load classifiers from records, predict images, export files."""
