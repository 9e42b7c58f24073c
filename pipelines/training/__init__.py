"""Makes checkpoints: timelines → questions → a trained, calibrated and described model.

May import the world model, the readers of the adapters and the samples. Nothing imports it.
"""
