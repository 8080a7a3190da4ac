"""The same network in other precisions, each held to its fp32 ONNX on a calibration set before it may serve."""
