"""How an exported version joins a repository: gate, evaluation, model card."""
