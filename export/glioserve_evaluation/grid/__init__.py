"""The published study's tables: every network on every combination of sequences."""
