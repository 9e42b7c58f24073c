"""The columns of a MEDS table: those of the standard, and those that our own data sets carry besides.

A table that has all of `OURS` was written by this service, and is read back by them; in any other the
code string alone says what a row means.
"""

import pyarrow as pa

MEDS_VERSION = "0.4.1"
STANDARD = (
    ("subject_id", pa.int64()),
    ("time", pa.timestamp("us")),
    ("code", pa.string()),
    ("numeric_value", pa.float32()),
    ("text_value", pa.large_string()),
)
CODE_MODIFIERS = ("kind", "phase", "standing", "origin", "unit", "comparator")
"""What must be known of a row beside its code before it is used; `unit` is UCUM or what was sent."""

SITE = "site"
OTHERS = (
    "code_system",
    "code_value",
    "value_type",
    "value_system",
    "status",
    "category",
    "absent_reason",
    "time_precision",
)
AVAILABLE = "available_time"
"""From when the fact was known (UTC): a model that is to be fair reads no row before it."""

OURS = (*CODE_MODIFIERS, SITE, *OTHERS, AVAILABLE)

SCHEMA = pa.schema(
    [
        *(
            pa.field(name, kind, nullable=name not in {"subject_id", "code"})
            for name, kind in STANDARD
        ),
        *(pa.field(name, pa.string()) for name in (*CODE_MODIFIERS, SITE, *OTHERS)),
        pa.field(AVAILABLE, pa.timestamp("us")),
    ]
)
