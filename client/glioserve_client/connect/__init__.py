"""Connections to a server: TLS files, channels and what opens them."""
