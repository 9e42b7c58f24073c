"""What a code still says when the model never met it: its system, its ancestors, its words.

Knows how the hierarchies of some terminologies are spelled and how to hash text into buckets that
never change between processes. Does not know which codes a model has seen.
"""

import zlib
from collections.abc import Iterator

from clinical.timeline.code import Code, CodeSystem

MAX_PIECES = 24
_GRAM = 4


def pieces(codes: tuple[Code, ...], num_buckets: int) -> tuple[int, ...]:
    """Buckets in `[1, num_buckets)` for the ancestors and words of a concept; 0 is left for padding.

    `codes` is the concept's own code first, then the sender's translations of it. At most
    `MAX_PIECES` are kept, spread evenly over the text, so that long displays cost no more.
    """
    texts = list(dict.fromkeys(text for code in codes for text in _texts(code)))
    if len(texts) > MAX_PIECES:
        texts = [texts[i * len(texts) // MAX_PIECES] for i in range(MAX_PIECES)]
    return tuple(1 + zlib.crc32(text.encode()) % (num_buckets - 1) for text in texts)


def _texts(code: Code) -> Iterator[str]:
    yield from (f"{code.system}/{ancestor}" for ancestor in ancestors(code))
    words = f" {' '.join(code.display.lower().split())} "
    for start in range(max(1, len(words) - _GRAM + 1)):
        if len(words) > 2:
            yield words[start : start + _GRAM]


def ancestors(code: Code) -> tuple[str, ...]:
    """The levels above a code that can be read from its spelling, widest first.

    ICD-10: first letter and three-character category. ICD-9-CM: category. ATC: levels 1 to 4.
    The hierarchies of LOINC, SNOMED CT and RxNorm are not in their codes and are not guessed.
    """
    value = code.value
    match code.system:
        case CodeSystem.ICD_10 | CodeSystem.ICD_10_CM:
            return (value[:1], value[:3])
        case CodeSystem.ICD_9_CM:
            return (value[:3],)
        case CodeSystem.ATC:
            return tuple(value[:n] for n in (1, 3, 4, 5) if len(value) > n)
        case _:
            return ()
