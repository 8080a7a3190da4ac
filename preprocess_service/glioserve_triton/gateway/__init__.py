"""Envoy in front of the gRPC port: who may ask, how often, how much, and which server answers (docs/gateway.md)."""
