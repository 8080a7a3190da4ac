"""The audit log: one line for every study's end, or a bridge's step, each bound to the one before it by its hash."""
