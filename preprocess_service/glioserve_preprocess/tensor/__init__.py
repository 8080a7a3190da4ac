"""From registered volumes to the network's input, and its provenance."""
