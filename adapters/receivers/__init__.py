"""Those who registered to be told what happens here, as something to be told: Standard Webhooks, outgoing.

Knows signatures and what a status means. Does not know when to try again.
"""
