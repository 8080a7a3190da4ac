"""Commands that make training data and train networks."""
