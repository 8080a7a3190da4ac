"""A candidate beside the server: a process of its own that answers live studies for the record alone."""
