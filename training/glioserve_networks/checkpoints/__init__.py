"""Weights that were trained elsewhere, read and fitted to our networks."""
