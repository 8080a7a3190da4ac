"""One call from a study to its answer: deadline, attempts, messages and channels, shared by both clients."""
