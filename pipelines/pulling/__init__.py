"""Asks EHRs on our own account, step by step: when to ask again, how far we are, what was odd.

Knows waiting, and what is done about each way in which an EHR can fail. Does not know HTTP or FHIR.
"""
