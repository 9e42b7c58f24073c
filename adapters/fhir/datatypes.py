"""FHIR's data types as msgspec structs, closed: an element that R4 does not have is an error.

Elements that we do not read are declared by name (`closed`) and skipped unparsed. What is inside
them is therefore not checked here; `validation.py` says who checks that.
"""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from msgspec import Meta as Constraint
from msgspec import Raw, Struct, defstruct

Text = Annotated[str, Constraint(min_length=1)]

UNREAD = Raw()
"""What an absent element that we do not read is."""

_Shape = TypeVar("_Shape", bound=Struct)


def closed(unread: str = "", *, tag: str | None = None) -> Callable[[type[_Shape]], type[_Shape]]:
    """Close a struct: `unread` names its other R4 elements, and anything else is refused."""

    def close(shape: type[_Shape]) -> type[_Shape]:
        return defstruct(  # type: ignore[return-value]  # a subclass of `shape`, made at run time
            shape.__name__,
            [(name, Raw, UNREAD) for name in unread.split()],
            bases=(shape,),
            module=shape.__module__,
            namespace={"__doc__": shape.__doc__},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
            tag=tag,
            tag_field="resourceType" if tag else None,
        )

    return close


@closed("id extension version userSelected _system _version _code _display _userSelected")
class Coding(Struct, kw_only=True, gc=False):
    """A code in a system."""

    system: Text | None = None
    code: Text | None = None
    display: Text | None = None


@closed("id extension _text")
class CodeableConcept(Struct, kw_only=True, gc=False):
    """A concept, in several systems or in words."""

    coding: list[Coding] | None = None
    text: Text | None = None


@closed("id extension _value _comparator _unit _system _code")
class Quantity(Struct, kw_only=True, gc=False):
    """A measured amount; also Age, Duration, Count and SimpleQuantity."""

    value: Raw = UNREAD  # read by `quantities.decimal`, digit by digit
    comparator: Literal["<", "<=", ">=", ">"] | None = None
    unit: Text | None = None
    system: Text | None = None
    code: Text | None = None


@closed("id extension")
class Range(Struct, kw_only=True, gc=False):
    """Low to high."""

    low: Quantity | None = None
    high: Quantity | None = None


@closed("id extension")
class Ratio(Struct, kw_only=True, gc=False):
    """One amount to another."""

    numerator: Quantity | None = None
    denominator: Quantity | None = None


@closed("id extension _start _end")
class Period(Struct, kw_only=True, gc=False):
    """From start to end."""

    start: Text | None = None
    end: Text | None = None


@closed("id extension _reference _type _display")
class Reference(Struct, kw_only=True, gc=False):
    """Another resource."""

    reference: Text | None = None
    type: Text | None = None
    identifier: Raw = UNREAD
    display: Text | None = None


@closed("id extension source profile security tag _versionId _lastUpdated _source _profile")
class Meta(Struct, kw_only=True, gc=False):
    """What the server says of a resource."""

    versionId: Text | None = None  # noqa: N815 - FHIR's spelling
    lastUpdated: Text | None = None  # noqa: N815
