"""The care-plan library that ships with the product: a readable file, and its reader.

May import `clinical`. Does not know which of its actions a model has learned.
"""
