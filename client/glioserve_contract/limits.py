"""Bounds that both sides keep; a request beyond one is refused with GLIO-1104 before it costs memory."""

MAX_INSTANCES = 8192
"""DICOM files in one request."""
MAX_REQUEST_BYTES = 1 << 30
"""Bytes of all tensors of one request; gRPC itself ends at 2 GiB - 1."""
MAX_INFLATED_BYTES = 1 << 28
"""Bytes that one deflated DICOM file may inflate to: a megabyte of it may hold a gigabyte."""
MAX_VOLUME_VOXELS = 1 << 27
"""Voxels of one volume: 512 x 512 x 512."""
MAX_CLASSIFIER_BATCH = 8
"""Studies that the classifier takes in one batch."""
DEFAULT_TIMEOUT_S = 120.0
"""Deadline of the client where the caller names none; a call always has one."""
MAX_STUDY_S = 300.0
"""Longest time that one step of the ensemble works on a study (GLIO-3105): forty times what a usual one takes."""
CLOCK_TOLERANCE_S = 1.0
"""Time after a caller's deadline that a server still works: clocks that are set by NTP differ by less."""
MAX_WAITING_STUDIES = 16
"""Studies that wait for preprocessing. One more is refused at once (GLIO-4101), so that its caller asks elsewhere and
the server's memory stays bounded: every one of them waits with all its bytes."""
MAX_WAITING_ANSWERS = 32
"""Preprocessed studies that wait for the classifier, or classified ones for their report: four full batches."""
MAX_WAIT_S = DEFAULT_TIMEOUT_S / 2
"""Longest time in one model's queue; a study that waited longer is refused, for its caller may have given up."""
MAX_SHEAR_COSINE = 1e-3
"""Largest cosine between two voxel axes of a grid that counts as rectangular: 0.06 degrees, half a voxel over 500."""
MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 50.0
"""Smallest and largest voxel spacing; beyond them, the unit is not mm."""
MAX_EXTENT_MM = 1000.0
"""Largest field of view along an axis; a larger one is not a head's, or not in mm."""
MAX_POSITION_MM = 1e5
"""Largest coordinate of a grid's first voxel along an axis: a hundred metres from the scanner's centre."""
MAX_NAN_SHARE = 0.5
"""Largest share of NaN among a volume's voxels: the outside of its field of view, which reaches the border."""
MAX_MAGNITUDE = 1e12
"""Largest voxel magnitude; squares and sums over a volume then stay inside single precision."""
MIN_RANGE = 1e-12
"""Smallest difference between the largest and the smallest voxel of a volume that is not blank."""
