"""The journeys, one file each: the only place that opens a transaction.

A service needs the outside world only through the protocols in `ports`. No service imports another.
"""
