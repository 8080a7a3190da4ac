"""Phantom studies: a synthetic head with a lesion, scanned once per sequence, with its ground truth.

``anatomy`` and ``lesion`` lay out the tissue, ``sequences`` holds how each sequence is scanned and how tissue looks in
it, ``acquisition`` and ``headers`` draw a scan from that, ``study`` joins them, ``dicom`` and ``truth`` write the
files. It needs NumPy and SimpleITK only.
"""

from glioserve_phantom.lesion import DIAGNOSES, Diagnosis, Lesion
from glioserve_phantom.study import Phantom, make_phantom

__all__ = ["DIAGNOSES", "Diagnosis", "Lesion", "Phantom", "make_phantom"]
