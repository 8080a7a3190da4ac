"""Rigid registration by mutual information."""
