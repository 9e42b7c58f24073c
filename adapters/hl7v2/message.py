"""A message as the kept library (python-hl7) splits it, with its letters decoded and its escapes resolved.

Knows delimiters, character sets (MSH-18), escape sequences (chapter 2, section 2.7) and the two ways of
saying nothing: empty, which says nothing, and `""`, which says that there is nothing. Does not know
which field means what.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import hl7

from adapters.hl7v2.errors import Reason, SegmentError

NULL = '""'
"""The sender deletes what was there (section 2.5.3)."""

CHARSETS = {
    "": "ascii",
    "ASCII": "ascii",
    "8859/1": "iso-8859-1",
    "8859/2": "iso-8859-2",
    "8859/3": "iso-8859-3",
    "8859/4": "iso-8859-4",
    "8859/5": "iso-8859-5",
    "8859/6": "iso-8859-6",
    "8859/7": "iso-8859-7",
    "8859/8": "iso-8859-8",
    "8859/9": "iso-8859-9",
    "8859/15": "iso-8859-15",
    "UNICODE UTF-8": "utf-8",
}
"""HL7 table 0211, as far as it is read: what switches sets within a message is not."""

MAX_PARTS = 200_000
_KIND = re.compile(r"[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2})?")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Segment:
    """One segment: `text` and its kin answer by field, repetition, component and subcomponent, from 1."""

    __slots__ = ("_delimiters", "_encoding", "_parsed", "name", "position")

    def __init__(
        self, parsed: Sequence[object], delimiters: str, encoding: str, position: int
    ) -> None:
        """`delimiters` are field, repetition, component, subcomponent and escape; `position` counts from 1."""
        self._parsed = parsed
        self._delimiters = delimiters
        self._encoding = encoding
        self.name = str(parsed[0]) if parsed else ""
        self.position = f"{self.name}[{position}]"

    def repetitions(self, field: int) -> list["Repetition"]:
        """Those that say something, `""` too."""
        if field >= len(self._parsed):
            return []
        found = self._parsed[field]
        if isinstance(found, str):
            found = [found]
        made = [Repetition(each, self._resolved) for each in found]  # type: ignore[attr-defined]
        return [each for each in made if each.is_stated]

    def first(self, field: int) -> "Repetition":
        """The first that says something, or one that says nothing."""
        found = self.repetitions(field)
        return found[0] if found else _NOTHING

    def text(self, field: int, component: int = 1) -> str:
        """A component of the first repetition; empty where nothing, or `""`, is stated."""
        return self.first(field).text(component)

    def _resolved(self, text: str) -> str:
        return (
            unescaped(text, self._delimiters, self._encoding)
            if self._delimiters[4] in text
            else text
        )


class Repetition:
    """One repetition of a field."""

    __slots__ = ("_components", "_resolved")

    def __init__(self, parsed: object, resolved: object = str) -> None:
        """`parsed` is what the library made of it: a text, or a list of components."""
        self._components: Sequence[object] = [parsed] if isinstance(parsed, str) else list(parsed)  # type: ignore[call-overload]
        self._resolved = resolved

    @property
    def is_stated(self) -> bool:
        """Whether anything stands there."""
        return any(str(each) for each in self._components)

    @property
    def is_null(self) -> bool:
        """Whether it says that there is nothing."""
        return len(self._components) == 1 and str(self._components[0]) == NULL

    @property
    def num_components(self) -> int:
        """How many are there, empty ones too."""
        return len(self._components)

    def text(self, component: int = 1, subcomponent: int = 1) -> str:
        """A subcomponent, its escapes resolved and blanks around it left out; `""` reads as empty."""
        found = self.parts(component)
        return found[subcomponent - 1] if subcomponent <= len(found) else ""

    def parts(self, component: int) -> list[str]:
        """All subcomponents of a component."""
        if component > len(self._components):
            return []
        found = self._components[component - 1]
        raw = [found] if isinstance(found, str) else [str(each) for each in found]  # type: ignore[attr-defined]
        return ["" if each == NULL else self._resolved(each).strip() for each in raw]  # type: ignore[operator]

    def whole(self) -> str:
        """All of a text that has separators in it by mistake, as it was sent."""
        return str(self._components[0]) if self.num_components == 1 else ""


_NOTHING = Repetition("")


class Message:
    """The segments in their order."""

    def __init__(self, segments: list[Segment]) -> None:
        """The first is MSH."""
        self.segments = segments
        self.header = segments[0]

    @property
    def kind(self) -> str:
        """Type and trigger, such as `ADT^A01`; `(other)` where MSH-9 does not look like that."""
        kind = "^".join(filter(None, (self.header.text(9, 1), self.header.text(9, 2))))
        return kind if _KIND.fullmatch(kind) else "(other)"

    def all(self, name: str) -> list[Segment]:
        """The segments of a name."""
        return [each for each in self.segments if each.name == name]

    def first(self, name: str) -> Segment | None:
        """The first of a name."""
        return next(iter(self.all(name)), None)


def parsed(body: bytes, charset: str) -> Message:
    """The message; `charset` (of table 0211) is for one that does not say which it uses.

    Raises:
        SegmentError: it is no HL7 v2, or its letters cannot be told.
    """
    encoding = _encoding(body, charset)
    if encoding == "utf-8":
        body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise SegmentError(
            Reason.UNDECODABLE, "MSH-18: the bytes are not of the character set that is stated"
        ) from error
    if "\x00" in text:
        raise SegmentError(Reason.UNDECODABLE, "the message holds the character NUL")
    _require_few_parts(text)
    try:
        found = hl7.parse(_with_carriage_returns(text))
    except (hl7.HL7Exception, ValueError, IndexError, AssertionError) as error:
        raise SegmentError(Reason.NOT_HL7, "the message cannot be cut into segments") from error
    # The library's order is segment, field, repetition, component, subcomponent.
    delimiters = found.separators[1:5] + found.esc
    counts: dict[str, int] = {}
    segments = []
    for each in found:
        name = str(each[0]).strip()
        if not name:
            continue
        counts[name] = counts.get(name, 0) + 1
        segments.append(Segment(each, delimiters, encoding, counts[name]))
    return Message(segments)


def _encoding(body: bytes, charset: str) -> str:
    start = body.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if start[:3] != b"MSH" or len(start) < 8:
        raise SegmentError(Reason.NOT_HL7, "the message does not begin with MSH")
    fields = re.split(rb"[\r\n]", start, maxsplit=1)[0].split(start[3:4])
    stated = fields[17].decode("ascii", "replace").strip() if len(fields) > 17 else ""
    if body.startswith(_BYTE_ORDER_MARK) and not stated:
        return "utf-8"
    repetition = start[5:6].decode("ascii", "replace")
    name = (stated.split(repetition)[0] if repetition else stated) or charset
    if repetition and stated.strip(repetition).count(repetition):
        raise SegmentError(
            Reason.UNKNOWN_CHARSET, "MSH-18: several character sets in one message are not read"
        )
    try:
        return CHARSETS[name.upper()]
    except KeyError:
        raise SegmentError(
            Reason.UNKNOWN_CHARSET, "MSH-18: this character set is not read"
        ) from None


def _require_few_parts(text: str) -> None:
    """The library makes an object of every part: a message of separators alone would fill the memory."""
    start = text.lstrip()
    if sum(map(text.count, set(start[3:8]) - {"\r", "\n"})) > MAX_PARTS:
        raise SegmentError(Reason.TOO_LARGE, f"the message has more than {MAX_PARTS} separators")


def _with_carriage_returns(text: str) -> str:
    """Segments end with CR; of files and of some senders with LF, or both."""
    if "\r" in text:
        return re.sub(r"\r\n", "\r", text).strip("\r\n ")
    return text.replace("\n", "\r").strip("\r ")


def unescaped(text: str, delimiters: str, encoding: str) -> str:
    r"""The text with its escape sequences resolved; one that is not known stays as it is.

    The library's own way replaces what it does not know and logs the text, which is patient data.
    """
    field, repetition, component, subcomponent, escape = tuple(delimiters)
    simple = {
        "F": field,
        "R": repetition,
        "S": component,
        "T": subcomponent,
        "E": escape,
        "H": "",  # highlighting begins and ends
        "N": "",
        ".br": "\n",
        ".sp": "\n",
    }

    def one(found: re.Match[str]) -> str:
        sequence = found[1]
        if sequence in simple:
            return simple[sequence]
        if sequence[:1] == "X":
            try:
                return bytes.fromhex(sequence[1:]).decode(encoding)
            except ValueError:
                return found[0]
        return found[0]

    return _sequence(escape).sub(one, text).replace("\x00", "")


@lru_cache(maxsize=16)
def _sequence(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(f"{mark}([^{mark}]{{1,200}}){mark}")
