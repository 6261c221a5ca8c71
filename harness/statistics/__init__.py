"""Honest statistics of a score table: images are the sampling unit, and every submission is resampled in pairs."""
