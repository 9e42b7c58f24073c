"""Who is who in a data set: numbers that only the holder of a key can make."""

import hashlib
import hmac
from uuid import UUID


def subject_id(key: bytes, patient_id: UUID) -> int:
    """A positive number of 63 bits, always the same under one key.

    Our own `patient_id` can be recomputed by whoever guesses the EHR's id; this cannot, without the key.
    With it, the numbers of all patients can be made again, and so a subject can be found: the number
    is a pseudonym, and what stands under it is still about a person.
    """
    digest = hmac.digest(key, patient_id.bytes, hashlib.sha256)
    return int.from_bytes(digest[:8]) >> 1
