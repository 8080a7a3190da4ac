"""OpenTelemetry spans of a study, exported by Triton and by the Python models, in the trace of its caller."""
