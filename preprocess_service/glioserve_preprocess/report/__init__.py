"""The step from the network's outputs to the answer."""
