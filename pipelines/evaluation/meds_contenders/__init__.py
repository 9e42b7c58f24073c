"""Ways from a folder of NDJSON to a MEDS data set, each a program of its own: `FOLDER OUT`.

Each prints one line of JSON: processor seconds without imports, rows written. Each is held to one core.
"""
