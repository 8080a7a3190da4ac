"""Volumes handed to a server on the same host by shared memory, where its operator allows that."""
