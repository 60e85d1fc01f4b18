"""What a kernel may lack, whom it is needed for, and how to get it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeGuard

from .host import SHAPING, VLAN_FILTERING, Observation
from .plan import Create, Plan, Update
from .resources import Link, Resource, Shaper, subject

_MODULES = {"vlan": "8021q"}
_BRIDGE = "run a kernel that has CONFIG_BRIDGE_VLAN_FILTERING, or remove vlan_filtering"
_SYMBOLS = {"vlan": "VLAN_8021Q"}
_SHAPING = (
    "traffic shaping, which this kernel has not; load its modules (modprobe -a sch_tbf sch_ingress cls_u32 act_mirred),"
    " or run a kernel that has CONFIG_NET_SCH_TBF, NET_SCH_INGRESS, NET_CLS_U32 and NET_ACT_MIRRED"
)


def mend(kind: str) -> str:
    """Return how a host gets links of a kind."""
    module, symbol = _MODULES.get(kind, kind), _SYMBOLS.get(kind, kind.upper())
    return f"load the module (modprobe {module}), or run a kernel that has CONFIG_{symbol}"


def mends(kind: str) -> str:
    """Return how a host gets links of a kind, or what else `Host.lacking` is asked for."""
    if kind == SHAPING:
        return _SHAPING.partition("; ")[2]
    return _BRIDGE.partition(", or")[0] if kind == VLAN_FILTERING else mend(kind)


def unproven(plan: Plan, observation: Observation) -> dict[str, Link | Shaper]:
    """Return the kinds of link that a plan makes and nothing on the host shows to exist, with the first such link."""
    found: dict[str, Link | Shaper] = {}
    for change in plan.changes:
        if isinstance(change, Create) and isinstance(change.after, Link):
            found.setdefault(change.after.kind, change.after)
        if isinstance(change, Create | Update) and _filters(change.after):
            found.setdefault(VLAN_FILTERING, change.after)
        if isinstance(change, Create) and isinstance(change.after, Shaper):
            found.setdefault(SHAPING, change.after)
    if found:
        state, facts = observation
        for one in (*state.values(), *facts.links.values(), *facts.uppers):
            found.pop(getattr(one, "kind", ""), None)
        if VLAN_FILTERING in found and any(map(_filters, state.values())):
            found.pop(VLAN_FILTERING, None)
        if SHAPING in found and any(isinstance(one, Shaper) and one.redirect for one in state.values()):
            found.pop(SHAPING, None)
    return found


def _filters(resource: Resource) -> TypeGuard[Link]:
    """Whether it is a bridge that filters VLANs: a kernel that can't takes the setting, and does nothing."""
    return isinstance(resource, Link) and resource.options.get("vlan_filtering") is True


def complaint(kinds: Collection[str], links: dict[str, Link | Shaper]) -> str:
    """Return a line for each of the kinds that the kernel does not make."""
    lines = []
    for kind in sorted(kinds):
        _, network = subject(links[kind])
        if kind == VLAN_FILTERING:
            lines.append(f"network {network} needs a bridge that filters VLANs, which this kernel has not; {_BRIDGE}")
            continue
        if kind == SHAPING:
            lines.append(f"the bandwidth of {links[kind].key.name} needs {_SHAPING}")
            continue
        first = links[kind]
        whose = f"network {network}" if network else first.name if isinstance(first, Link) else first.key.name
        lines.append(f"{whose} needs links of kind {kind}, which this kernel does not make; {mend(kind)}")
    return "\n".join(lines)
