"""The change of the version that serves: of files, and of live servers."""
