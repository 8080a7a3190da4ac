"""Traces, metrics and log of a client's calls: each only where the application wants it, none with patient data."""
