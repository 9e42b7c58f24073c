"""PostgreSQL: where everything that was received, predicted, decided and audited is kept.

Knows SQL and how each domain value is laid out in rows. Does not know FHIR, HTTP, the broker or the
model, and takes no decision: what may happen is said in the domain.
"""
