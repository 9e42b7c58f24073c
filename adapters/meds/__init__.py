"""MEDS event tables (https://github.com/Medical-Event-Data-Standard/meds) in: rows to events.

Knows the standard's columns and reserved codes, and the code strings of MIMIC-IV extracts. Does not
know FHIR, storage or training.
"""
