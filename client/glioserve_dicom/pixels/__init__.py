"""Stored pixels as bytes: what belongs to an image, and what only travels with it."""
