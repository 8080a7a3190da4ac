"""A network to an ONNX graph with Grad-CAM in it, and the proof that both agree."""
