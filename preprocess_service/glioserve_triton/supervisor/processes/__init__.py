"""Processes of the Python models: what the kernel shows of them, what is wrong, and what they leave behind."""
