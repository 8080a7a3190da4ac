"""The brain mask on the reference: by a network or classically, behind a gate."""
