"""DICOM files (or volumes) to the network's input, and the network's output to an answer. No Triton in here.

``read -> series -> assemble -> register -> brain -> grid -> normalise``, then ``report``; :mod:`pipeline` joins them.
"""

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()
