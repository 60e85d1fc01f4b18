"""Finding out what a kernel can make, by trying."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from . import SHAPING, VLAN_FILTERING, kinds, namespaces, rtnetlink
from .netlink import Socket

_NO_MAC = "00:00:00:00:00:00"
"""What most kinds refuse (EADDRNOTAVAIL), so that there is nothing to take down again: the kernel looks for the kind
first, and loads its module where it has one."""


def lacking(wanted: Sequence[str]) -> frozenset[str]:
    """Return those kinds of link that the kernel can't make, tried in a namespace that is thrown away.

    Raises OperationFailed and NotPermitted where there can be no such namespace.
    """
    return namespaces.in_a_thread(lambda: _refused(wanted))


def _refused(wanted: Sequence[str]) -> frozenset[str]:
    try:
        namespaces.unshare()
        door = Socket()
    except OSError as failure:
        raise namespaces.refuse(failure, "a namespace to try in what the kernel can make") from failure
    found: set[str] = set()
    with door:
        if VLAN_FILTERING in wanted:
            wanted = [kind for kind in wanted if kind != VLAN_FILTERING]
            found |= {VLAN_FILTERING} if _filters_nothing(door) else set()
        if SHAPING in wanted:
            from . import shaping

            wanted = [kind for kind in wanted if kind != SHAPING]
            found |= set() if shaping.works(door) else {SHAPING}
        bodies = [rtnetlink.link(name=f"probe{at}", mac=_NO_MAC, kind=kind) for at, kind in enumerate(wanted)]
        answers = door.send([rtnetlink.new_link(body) for body in bodies])
    return frozenset(found).union(
        kind
        for kind, answer in zip(wanted, answers, strict=True)
        if answer.errno == errno.EOPNOTSUPP and answer.text in ("", rtnetlink.UNKNOWN_KIND)
    )


def _filters_nothing(door: Socket) -> bool:
    """Whether a bridge that is told to filter VLANs does not: a kernel without that takes the setting all the same."""
    wanted = kinds.encode(kinds.KINDS["bridge"], {"vlan_filtering": True})
    made, seen = door.send(
        [
            rtnetlink.new_link(rtnetlink.link(name="filtering", kind="bridge", options=wanted)),
            rtnetlink.get_link("filtering"),
        ]
    )
    if made.errno or not seen.echo:
        return made.errno == errno.EOPNOTSUPP
    return not kinds.decode(kinds.KINDS["bridge"], rtnetlink.link_row(seen.echo).data).get("vlan_filtering")
