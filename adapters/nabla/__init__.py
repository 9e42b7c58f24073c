"""Nabla's doors: the Connect callback and the normalised data of a note, to events derived by AI.

Knows Nabla's envelopes, signatures and words. Does not know FHIR, storage or routes.
"""
