"""Values: dataclasses as the standard library makes them, frozen for the type checker, which is quicker.

The guards of a frozen dataclass, `__setattr__`, `__delattr__` and an `__init__` that goes round them, are compiled anew
in each process, and make each value take three times as long. That nobody sets a field is checked by mypy, not at run
time: who does it all the same changes what others hold too (docs/decisions/019).
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    import functools
    import operator

    def dataclass(*, frozen: bool = False, eq: bool = True, slots: bool = False):
        """Return the decorator of that name of the standard library; what is frozen has a hash, and no guard.

        What all classes can share is not written and compiled for each anew, as the standard library does.
        """
        if not frozen:
            return dataclasses.dataclass(eq=eq, slots=slots)

        def made(kind: type) -> type:
            kind.__hash__, kind.__repr__ = _hash, _repr
            if eq:
                kind.__eq__ = _equal
            return dataclasses.dataclass(repr=False, eq=False, slots=slots)(kind)

        return made

    def _equal(value: object, other: object) -> bool:
        if other.__class__ is not value.__class__:
            return NotImplemented
        compared = _compared(value.__class__)
        return compared(value) == compared(other)

    @functools.cache
    def _compared(kind: type) -> operator.attrgetter:
        return operator.attrgetter(*(part.name for part in dataclasses.fields(kind) if part.compare))

    def _hash(value: object) -> int:
        return hash(tuple(getattr(value, part.name) for part in dataclasses.fields(value) if part.compare))

    def _repr(value: object) -> str:
        parts = (f"{part.name}={getattr(value, part.name)!r}" for part in dataclasses.fields(value) if part.repr)
        return f"{type(value).__qualname__}({', '.join(parts)})"


__all__ = ["dataclass", "field"]
