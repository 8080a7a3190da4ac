"""Kinds of images that headers of one stack do not give away."""
