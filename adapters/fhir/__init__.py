"""FHIR R4 in and out: deliveries to events, decided predictions to resources.

Knows FHIR's words and how EHRs write them. Does not know storage, HTTP routes, the model, or settings.
"""
