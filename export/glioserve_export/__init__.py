"""A trained artifact to a served classifier version.

``artifact -> graph -> onnx_export -> parity -> exporter -> repository``. The repository's side
(:mod:`classifier_config`, :mod:`static_models`, :mod:`repository`, :mod:`recipe_override`, :mod:`demo_model`)
needs neither torch nor onnx, so that a server's own environment can assemble one.
"""

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()
