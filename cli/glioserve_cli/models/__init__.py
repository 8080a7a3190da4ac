"""Commands that make, judge and publish a model."""
