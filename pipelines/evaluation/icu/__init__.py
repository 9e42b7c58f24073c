"""The table of intensive care: outcomes and values of real stays, against what people would use instead."""
