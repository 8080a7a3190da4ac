"""GPUs, and the TensorRT plans that fit them."""
