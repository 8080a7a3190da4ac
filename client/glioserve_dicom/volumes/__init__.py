"""Voxel grids in LPS space, and volumes from arrays and NIfTI files."""
