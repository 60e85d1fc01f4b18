"""What the kernel says of queues and filters, netapply and pyroute2 read alike. tests/vm has links and VLANs."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pyroute2.netlink.rtnl.tcmsg import tcmsg  # type: ignore[import-untyped]

from reconciler.host import shaping
from reconciler.host.netlink import Socket
from reconciler.host.shaping import FilterRow, QueueRow
from reconciler.resources.shaping import ticks
from tests.machine import Machine

pytestmark = pytest.mark.needs_kernel("ifb")

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}
containers:
  web: {networks: {front: {bandwidth: {ingress: 10mbit, egress: {rate: 2mbit, burst: 40kb}}}}}
  db: {networks: {front: {bandwidth: {egress: 20gbit}}}}
"""


def decoded(body: bytes) -> Any:
    message = tcmsg(struct.pack("=IHHII", 16 + len(body), shaping.NEWQDISC, 0, 0, 0) + body)
    message.decode()
    return message


def read(message: Any) -> QueueRow:
    """Return what pyroute2 has read of a queue as netapply has it, the burst in ticks."""
    kind, root = message.get_attr("TCA_KIND"), message["parent"] == 0xFFFFFFFF
    row = QueueRow(message["index"], kind, root and message["handle"] != 0, root and message["handle"] >> 16 == 0x6E61)
    if not row.own:
        return row
    options = message.get_attr("TCA_OPTIONS")
    parts = options.get_attr("TCA_TBF_PARMS")
    rate = parts["rate"] * 8
    return row._replace(rate=rate, burst=parts["buffer"], limit=parts["limit"])


def test_queues_and_filters_are_those_that_pyroute2_reads(host: Machine) -> None:
    host.outside()
    host.netapply("-", stdin=SHOP)
    host.run("tc qdisc add dev uplink root handle 1: htb default 1")
    host.run("tc qdisc add dev uplink ingress")
    host.run("tc filter add dev uplink ingress pref 7 u32 match u32 0 0 flowid 1:1")
    with Socket() as door:
        bodies = door.dump(shaping.GETQDISC, shaping.all_queues())
        rows = [shaping.queue_row(body) for body in bodies]
        filters = {
            row.link: door.dump(shaping.GETTFILTER, shaping.filters(row.link)) for row in rows if row.kind == "ingress"
        }
    in_ticks = [row._replace(burst=ticks(row.rate, row.burst)) if row.rate else row for row in rows]
    assert in_ticks == [read(decoded(body)) for body in bodies]
    assert sorted(row.rate for row in rows if row.own) == [2_000_000, 10_000_000, 20_000_000_000]
    assert {row.kind for row in rows} >= {"tbf", "htb", "ingress"}
    found = {link: [shaping.filter_row(body) for body in some] for link, some in filters.items()}
    assert found == {link: [redirected(decoded(body)) for body in some] for link, some in filters.items()}
    ifbs = {one["ifindex"] for one in host.json("ip -j link show type ifb")}
    assert {row.to for some in found.values() for row in some if row.own and row.to} == ifbs
    assert FilterRow(False) in [row for some in found.values() for row in some]


def redirected(message: Any) -> FilterRow:
    if message["info"] >> 16 != 0x6E61:
        return FilterRow(False)
    options = message.get_attr("TCA_OPTIONS")
    actions = options.get_attr("TCA_U32_ACT") if options else None
    if not actions:
        return FilterRow(True)
    (_, action), *_ = actions["attrs"]
    return FilterRow(True, action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")["ifindex"])
