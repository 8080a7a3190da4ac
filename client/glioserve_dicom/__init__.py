"""The one reader of DICOM and volume files, shared by client and preprocessing.

Read in this order: :mod:`files` (bytes to data sets), :mod:`read` (a study's files), :mod:`slices` (images to one
volume), :mod:`volumes` (arrays and NIfTI files to one volume); :mod:`words` and :mod:`identity` say what headers
may keep.
"""
