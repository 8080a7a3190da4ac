"""The facts that recipes, manifests and promotions keep: provenance, parity, variants, evaluation, publication."""
