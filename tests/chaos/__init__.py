"""Faults on purpose: the real processes under load, what they were told and what they kept, and a judge."""
