"""Matched comparisons of the objective's parts (design 7.12), and the gates over several seeds."""
