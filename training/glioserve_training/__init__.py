"""Phantom studies and the trainer: everything before the artifact."""
