"""The version of the client, as its distribution and its user agent have it."""

__version__ = "0.1.0"
