"""Intensive care: open data sets of real, de-identified stays as timelines."""
