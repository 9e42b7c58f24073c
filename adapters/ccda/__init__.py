"""C-CDA: documents made safe, converted to FHIR by the kept converter, and told as versions of one record."""
