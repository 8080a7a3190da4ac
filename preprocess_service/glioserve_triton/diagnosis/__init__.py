"""What ``glioserve doctor`` examines: the machine, the packages, the server, a repository and a running server."""
