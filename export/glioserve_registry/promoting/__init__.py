"""Which version serves: the change of files, and of the live servers."""
