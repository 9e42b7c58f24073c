"""The composition roots: one file per process, the only files that know every concrete class.

Knows the settings and who implements which port. Does not know what is done with them.
"""
