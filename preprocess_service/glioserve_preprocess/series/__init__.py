"""The choice of one series of a study for each sequence, by evidence."""
