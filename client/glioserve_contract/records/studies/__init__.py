"""Records about studies in operation: what the input was like, and how each study ended."""
