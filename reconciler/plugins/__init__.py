"""Drivers that do not come with netapply: those of other Python packages, then executables in any language.

Of drivers of one name, one that comes with netapply is meant first, then a package's, then an executable: what is put
into a folder changes no network of a driver that is there already.
"""

from __future__ import annotations

from typing import NamedTuple

from ..drivers import Driver, built_in


class Source(NamedTuple):
    """Where a driver is from: `kind` is "built-in", "package" or "executable", `where` the package or the path."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "built-in":
                return "comes with netapply"
            case "package":
                return f"package {self.where}"
            case _:
                return self.where


def names() -> tuple[str, ...]:
    """Return the names of the drivers of others. None of them is loaded or run."""
    from ..host.executables import executables
    from .packages import names as packaged

    return tuple(sorted({*packaged(), *executables()}))


def find(name: str) -> Driver | None:
    """Return the driver of that name that a package or an executable is, None if there is none.

    Raises DriverError for one that breaks the contract, HostLacks for an executable that must not be run.
    """
    from . import packages

    if found := packages.load(name):
        return found
    from . import executables

    driver = executables.load(name)
    return None if driver is None else packages.guarded(driver.file.label, driver)


def sources(name: str) -> tuple[Source, ...]:
    """Return where drivers of that name are from: the first is meant, the others are hidden by it."""
    from ..host.executables import executables
    from .packages import packages

    return (
        *([Source("built-in")] if name in built_in() else ()),
        *(Source("package", one) for one in packages(name)),
        *(Source("executable", one.path) for one in executables().get(name, ())),
    )
