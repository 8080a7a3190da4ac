"""Which series of a study is which sequence, by evidence."""
