"""The network's input, computed from registered volumes, and its provenance."""
