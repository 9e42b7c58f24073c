"""What we ask an EHR for on our own account: bulk exports, everything of a patient, what changed.

Knows how FHIR servers answer, and what cannot be believed of an answer. Stores nothing, waits for
nothing, and does not know what the resources say.
"""
