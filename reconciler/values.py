"""Values: dataclasses as the standard library makes them, frozen for the type checker, which is quicker.

Half of what a small run takes is importing, and a third of that was writing and compiling the methods of frozen
dataclasses: `__setattr__` and `__delattr__` that refuse, and an `__init__` that goes round them, which then takes three
times as long for each value. So `frozen=True` is checked by mypy, as attrs' authors advise it, not at run time: who
changes a value all the same changes what others hold too. docs/performance.md has the figures.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen: bool = False, eq: bool = True, slots: bool = False):
        """Return the decorator of that name of the standard library; what is frozen has a hash, and no guard."""
        if not frozen:
            return dataclasses.dataclass(eq=eq, slots=slots)

        def made(kind: type) -> type:
            kind.__hash__, kind.__repr__ = _hash, _repr
            return dataclasses.dataclass(repr=False, eq=eq, slots=slots)(kind)

        return made

    def _hash(value: object) -> int:
        return hash(tuple(getattr(value, part.name) for part in dataclasses.fields(value) if part.compare))

    def _repr(value: object) -> str:
        parts = (f"{part.name}={getattr(value, part.name)!r}" for part in dataclasses.fields(value) if part.repr)
        return f"{type(value).__qualname__}({', '.join(parts)})"


__all__ = ["dataclass", "field"]
