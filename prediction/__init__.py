"""Trained networks in use: classifiers loaded from records, predictions for images, exported files."""
