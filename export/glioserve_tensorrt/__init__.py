"""TensorRT plans: built where they serve, checked against the ONNX network's stored answers, published beside it.

``operators -> key -> cache -> build (Python API or trtexec) -> check -> publish``; :mod:`build` is the whole of it.
Neither torch nor TensorRT is imported by this process: the one is not in the server's image, the other runs in
processes of its own, so that its crash or hang is only an error here.
"""
