"""The nftables tables: the project's, composed of parts, and the guard of the whole host.

The networks' zones are one part; what is published and what services there are would be others. Each part is a module.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..resources import NftTable
from .guard import guard_of, guard_table
from .sealing import Seal, sealing
from .text import FAMILY, Part, composed, owner_of, table_name
from .zones import Zone, zoning

__all__ = ["FAMILY", "Part", "Seal", "Zone", "guard_of", "guard_table", "owner_of", "table", "table_name"]


def table(project: str, zones: Sequence[Zone], further: Sequence[Part] = ()) -> NftTable | None:
    """Return the project's table, None if there is nothing to filter. HostLacks for a name that nft can't say.

    The rules of `further` parts come before those of the zones, which are the last word on what is forwarded.
    """
    return composed(project, [*further, zoning(zones), sealing([zone.seal for zone in zones if zone.seal])])
