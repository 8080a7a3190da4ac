"""The networks that a recipe may name."""
