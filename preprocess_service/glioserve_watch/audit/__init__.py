"""The audit log: one line for every study's end, each bound to the one before it by its hash."""
