"""One kernel argument: its name, and the values that it lists."""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """A parsed argument.

    :param name: with ``_`` for ``-``, which are the same to the kernel.
        Source: Linux, kernel/params.c (parameq).
    :param spelled: the name as it is written.
    :param values: what is between commas; None where there is no ``=``.
    """

    name: str
    spelled: str
    values: tuple[str, ...] | None

    def says(self, other: Word) -> bool:
        """Whether this is the other one, or lists it with more."""
        if self.name != other.name or self.values is None:
            return self[::2] == other[::2]
        return set(other.values or ("",)) <= set(self.values)

    def with_values(self, values: tuple[str, ...]) -> str | None:
        """The argument with these values; None without any."""
        return f"{self.spelled}={','.join(values)}" if values else None


def parsed(text: str) -> Word:
    """The argument that a whole word is; the kernel takes quotes off."""
    spelled, equals, value = text.replace('"', "").partition("=")
    values = tuple(value.split(",")) if equals else None
    return Word(spelled.replace("-", "_"), spelled, values)
