"""Bounds that both sides keep; a request beyond one is refused with GLIO-1104 before it costs memory."""

MAX_INSTANCES = 8192
"""DICOM files in one request."""
MAX_REQUEST_BYTES = 1 << 30
"""All tensors of one request. gRPC itself ends at 2 GiB - 1."""
MAX_INFLATED_BYTES = 1 << 28
"""What one deflated DICOM file may inflate to: a megabyte of it may hold a gigabyte."""
MAX_VOLUME_VOXELS = 1 << 27
"""Voxels of one volume: 512 x 512 x 512."""
MAX_CLASSIFIER_BATCH = 8
"""Studies that the classifier takes in one batch."""
DEFAULT_TIMEOUT_S = 120.0
"""The client's deadline where the caller names none. There is always one."""
MAX_SHEAR_COSINE = 1e-3
"""Largest cosine between two voxel axes of a grid that we call rectangular: 0.06 degrees, half a voxel over 500."""
MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 50.0
"""Of voxels; beyond, the unit is not mm."""
MAX_EXTENT_MM = 1000.0
"""Of a field of view along an axis; beyond, it is no head's, or the unit is not mm."""
MAX_POSITION_MM = 1e5
"""Of a grid's first voxel, along each axis: a hundred metres from the scanner's centre."""
MAX_NAN_SHARE = 0.5
"""Of a volume's voxels: what lies outside its field of view. Such NaN must reach the volume's border."""
MAX_MAGNITUDE = 1e12
"""Of a voxel. Squares and sums over a volume stay far from single precision's end."""
MIN_RANGE = 1e-12
"""Between the smallest and the largest voxel of a volume; 0 is a blank one."""
