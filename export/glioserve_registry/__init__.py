"""The model repository: publication behind a gate, promotion on live servers, stores and verification.

Read in this order: :mod:`layout` (the folder), :mod:`publishing` (how a version joins), :mod:`promoting` (which version
serves), :mod:`store` (remote copies). Neither torch nor onnx is needed but for :mod:`export`.
"""
