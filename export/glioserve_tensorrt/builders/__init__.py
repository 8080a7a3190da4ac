"""The two ways to TensorRT, its Python API and trtexec, each in a process of its own."""
