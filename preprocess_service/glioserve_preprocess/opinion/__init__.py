"""A second opinion on what a series is, by its voxels alone: a small network on a coarse grid of the whole head."""
