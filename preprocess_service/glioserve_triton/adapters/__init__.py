"""Between our stages and Triton's Python backend."""
