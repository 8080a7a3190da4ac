"""Decoders of compressed pixels: compiled, bounded by the image's size, without code under a copyleft licence."""
