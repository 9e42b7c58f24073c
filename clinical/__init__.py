"""The domain: what happened to a patient, what was predicted, what was decided, what can be proven.

It knows no clock, no environment, no database, no FHIR and no framework.
"""
