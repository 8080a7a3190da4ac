"""Adapters between our stages and Triton's Python backend."""
