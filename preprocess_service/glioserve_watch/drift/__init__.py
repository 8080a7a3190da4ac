"""Drift: studies of operation against those that the network was trained on, by site and version."""
