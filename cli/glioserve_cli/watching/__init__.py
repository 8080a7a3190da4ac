"""Commands that read what a server keeps of its studies."""
