"""Commands that preprocess and answer studies."""
