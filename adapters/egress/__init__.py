"""How we call outside systems: only where a site said, within limits, and by name when it fails.

Knows HTTP, addresses and tokens. Does not know what is asked for.
"""
