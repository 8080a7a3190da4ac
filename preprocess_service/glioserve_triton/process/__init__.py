"""The tritonserver process: found, started, watched, drained and stopped."""
