"""The command that bridges a PACS and a server."""
