"""Phantom studies: a synthetic head with a lesion, scanned as four sequences, with its ground truth.

``anatomy`` and ``lesion`` say what is where, ``contrast`` what it looks like, ``acquisition`` how it is scanned,
``study`` joins them, ``dicom`` and ``truth`` write them down. NumPy and SimpleITK only.
"""

from glioserve_phantom.lesion import DIAGNOSES, Diagnosis, Lesion
from glioserve_phantom.study import Phantom, make_phantom

__all__ = ["DIAGNOSES", "Diagnosis", "Lesion", "Phantom", "make_phantom"]
