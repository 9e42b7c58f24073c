"""Values that an entry vouches for without telling them: salted commitments, opened by salts kept apart.

A digest of patient data tells the data to whoever can guess it. A commitment tells nothing without
its salt; once the salt is gone nobody can say any more what it stood for, and every proof that the
entry is in the log still holds.
"""

import hashlib
import hmac

_MARK = "sealed:"


def sealed(salt: bytes, name: str, value: str) -> str:
    """`sealed:` and hex SHA-256(field salt ‖ value), where the field salt is HMAC-SHA256(salt, name).

    So one salt serves an entry, and who shows the field salt of one value opens no other. To hash a
    random salt before the value is the commitment of Halevi and Micali (CRYPTO '96), in its simple
    form: hiding and binding as long as SHA-256 behaves like a random function.
    """
    field_salt = hmac.digest(salt, name.encode(), "sha256")
    return _MARK + hashlib.sha256(field_salt + value.encode()).hexdigest()


def is_sealed(ref: str) -> bool:
    """Whether the value of a ref is a commitment."""
    return ref.startswith(_MARK)
