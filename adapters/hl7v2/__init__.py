"""HL7 v2: MLLP in, acknowledgements out, messages to timeline events."""
