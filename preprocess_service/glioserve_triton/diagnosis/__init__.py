"""The examination behind ``glioserve doctor``: machine, packages, server, a repository and a running server."""
