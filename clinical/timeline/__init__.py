"""What happened to one patient, in order.

Knows codes, quantities, clinical times, events and timelines. Does not know FHIR, tensors or SQL.
"""
