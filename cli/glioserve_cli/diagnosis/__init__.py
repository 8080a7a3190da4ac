"""`glioserve doctor`: what is installed, found, reachable and wrong."""
