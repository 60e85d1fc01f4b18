"""netapply: a declarative reconciler for container networking on Linux.

>>> import reconciler
>>> manifest = reconciler.load("shop.yaml")
>>> print(reconciler.plan(manifest).plan.counts)
>>> reconciler.apply(manifest)

docs/python.md has more. The names are imported when they are first used: importing the package costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from ._version import __version__

TYPE_CHECKING = False  # type checkers take it for typing's, which takes 13 ms to import
if TYPE_CHECKING:
    from typing import Any

    from .api import apply, destroy, load, own_key, pinned, plan, plan_destruction, this_host, with_key
    from .engine import Options, Proposal, Report
    from .errors import (
        ApplyFailed,
        DriverError,
        HostLacks,
        LockHeld,
        ManifestError,
        NetapplyError,
        NotPermitted,
        OperationFailed,
        Position,
        Problem,
        Refused,
        RollbackFailed,
    )
    from .manifest.model import Manifest
    from .plan import Change, Create, Delete, Plan, Update

__all__ = [
    "ApplyFailed",
    "Change",
    "Create",
    "Delete",
    "DriverError",
    "HostLacks",
    "LockHeld",
    "Manifest",
    "ManifestError",
    "NetapplyError",
    "NotPermitted",
    "OperationFailed",
    "Options",
    "Plan",
    "Position",
    "Problem",
    "Proposal",
    "Refused",
    "Report",
    "RollbackFailed",
    "Update",
    "__version__",
    "apply",
    "destroy",
    "load",
    "own_key",
    "pinned",
    "plan",
    "plan_destruction",
    "this_host",
    "with_key",
]

_HOMES = {
    ".api": ("apply", "destroy", "load", "own_key", "pinned", "plan_destruction", "this_host", "with_key"),
    ".engine": ("Options", "Proposal", "Report"),
    ".manifest.model": ("Manifest",),
    ".plan": ("Change", "Create", "Delete", "Plan", "Update"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # to a type checker, it would make every name there

    def __getattr__(name: str) -> Any:
        """Import a public name on its first use (PEP 562). Those that have no other home are errors."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME.get(name, ".errors"), __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Importing the submodule `plan` would hide the function of that name, by binding itself here; this keeps it.

    `from reconciler.plan import diff` finds the submodule all the same.
    """

    @property
    def plan(self) -> Any:
        return import_module(".api", __name__).plan

    @plan.setter
    def plan(self, submodule: ModuleType) -> None:
        """Let the import system bind the submodule to no effect."""


sys.modules[__name__].__class__ = _Package
