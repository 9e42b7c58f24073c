"""The sites that this service is joined with: one readable file, read into plain values.

Knows what may be said of a site and refuses what may not. Does not talk to anybody.
"""
