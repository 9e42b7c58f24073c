"""The memory that nobody can edit: entries, the Merkle tree over them, its head, and proofs.

Pure functions over bytes; storage and sequencing live elsewhere.
"""
