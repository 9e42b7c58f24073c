"""What the model said, as evidence: a question, a latent trajectory, readouts, or an abstention.

May import the timeline. Does not know torch, storage or the wire.
"""
