"""The ``glioserve`` command: a thin table over the packages' own command modules."""
