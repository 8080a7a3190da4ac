"""From the network's outputs to the answer."""
