"""What is in the repository that is served, and whether it is fit to be."""
