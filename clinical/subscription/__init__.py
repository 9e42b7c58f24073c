"""What an EHR's subscription has told us: its notifications, the numbers seen and missing, and what is due.

Pure rules of FHIR's topic-based subscriptions. No I/O, no clock.
"""
