"""The web face: webhooks in, the review API and its page out.

Knows HTTP, cookies, signatures as they are asked for, and problem documents. Does not know FHIR,
Nabla's or the database's words: what it needs of them comes as values and callables.
"""
