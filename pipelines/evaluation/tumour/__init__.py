"""Forecasts under other treatments than those given, where the truth is known: a tumour that grows.

A simulator from published equations, the two ways of testing on it, what people would use instead,
and the product's world model trained on nothing but its patients' records.
"""
