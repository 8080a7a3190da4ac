"""Start, watch, drain and stop a real Triton server; the Python-based backends that it uses on a laptop.

Read in this order: :mod:`locate` (find a tritonserver), :mod:`backend_folder` (give it its backends),
:mod:`options` (typed options to flags), :mod:`guardian` and :mod:`guarded` (a process that cannot be orphaned),
:mod:`server` (start, drain, stop), :mod:`repository` and :mod:`profile` (is this folder fit to serve, and so),
:mod:`command` (``glioserve serve``). Inside Triton: :mod:`adapter` and :mod:`python_backend`.
Nothing else is imported here: a command line that only asks for help stays quick.
"""

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()
