"""The memory of a server: what it keeps of its studies, and what is made from it. It holds no identity and no pixel."""
