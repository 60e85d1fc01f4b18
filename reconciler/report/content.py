"""What there is to tell of one plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..errors import Position
from ..plan import Plan


class Content(NamedTuple):
    """What there is to tell of one plan.

    `networks` and `containers` are the manifest's names, in its order; `position` finds them in it, None where there is
    no manifest. `pending` says by container why it is not attached yet, `refusals` why the plan would not be carried
    out. `seconds` is how long that took, None if it was not carried out. `names` are containers by address, of those
    that serve.
    """

    project: str
    plan: Plan
    networks: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    position: Callable[..., Position] | None = None
    pending: Mapping[str, str] = MappingProxyType({})
    refusals: tuple[str, ...] = ()
    seconds: float | None = None
    names: Mapping[str, str] = MappingProxyType({})
