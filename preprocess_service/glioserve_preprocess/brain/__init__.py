"""The brain mask on the reference, by a network or classically, with the checks that it has to pass."""
