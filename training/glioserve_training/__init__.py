"""Phantom studies and the trainer: everything before the artifact."""

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()
