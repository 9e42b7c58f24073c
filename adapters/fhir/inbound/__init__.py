"""One file per kind of resource: its struct, and `to_events`.

A struct holds what is read; the other elements that R4 knows are named in `closed(…)`.
"""
