"""A secret as a value that does not print itself."""

from typing_extensions import override


class Secret:
    """Text that only whoever asks for `value` gets to see."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        """`value` is the secret itself."""
        self.value = value

    @override
    def __repr__(self) -> str:
        """Never the secret."""
        return "Secret(…)"

    @override
    def __eq__(self, other: object) -> bool:
        """Equal where the secrets are."""
        return isinstance(other, Secret) and self.value == other.value

    @override
    def __hash__(self) -> int:
        """By the secret."""
        return hash(self.value)
