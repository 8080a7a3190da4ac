"""The truth that arrives months later: kept beside the answers, and what it says of the model."""
