"""Watch a running server: find a stage that died or hangs, repair it, and tell the truth to the probes."""
