"""The contents of the repository that is served, and the checks that it is fit to be served."""
