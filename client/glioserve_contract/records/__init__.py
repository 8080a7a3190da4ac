"""The files and messages that the contract describes, as frozen records."""
