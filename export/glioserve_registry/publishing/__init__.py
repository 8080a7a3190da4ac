"""The publication of an exported version: gate, evaluation, model card."""
