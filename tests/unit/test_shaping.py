"""Bandwidth, from the manifest's words to messages of the kernel's."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.tcmsg import tcmsg  # type: ignore[import-untyped]

from reconciler import engine
from reconciler.errors import DriverError, HostLacks, ManifestError, Refused
from reconciler.host import SHAPING, shaping
from reconciler.host.fake import FakeHost
from reconciler.lowering.shaping import shaped
from reconciler.manifest import load
from reconciler.networks import Bandwidth, Rate
from reconciler.report import bandwidth as words
from reconciler.resources import Key, Link, Shaper
from reconciler.resources.shaping import burst_of, ticks

MANIFEST = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  lan: {driver: macvlan, driver_opts: {parent: eth9}, ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: {%s: {bandwidth: %s}}}
"""


def endpoint(tmp_path: Path, said: str, network: str = "front") -> Bandwidth | None:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST % (network, said))
    return load([str(path)]).containers["web"].endpoints[0].bandwidth


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("{ingress: 10mbit}", Bandwidth(Rate(10_000_000))),
        ("{egress: 1.5Mbit}", Bandwidth(None, Rate(1_500_000))),
        ("{ingress: 64000, egress: 1gbit}", Bandwidth(Rate(64_000), Rate(10**9))),
        ("{ingress: {rate: 500kbit, burst: 64kb}}", Bandwidth(Rate(500_000, 65_536))),
        ("{ingress: {rate: 64000 bit, burst: 20000}}", Bandwidth(Rate(64_000, 20_000))),
        ("{}", None),
        ("null", None),
    ],
)
def test_rates_are_in_the_units_of_tc(tmp_path: Path, said: str, means: Bandwidth | None) -> None:
    assert endpoint(tmp_path, said) == means


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{ingress: 10mb}", "not a rate in bits a second such as 10mbit, 500kbit or 1gbit"),
        ("{ingress: 10mbps}", "not a rate in bits a second such as 10mbit, 500kbit or 1gbit"),
        ("{ingress: 19999}", "is 19999"),
        ("{ingress: 5kbit}", "ingress is 5kbit, and a rate is between 20kbit and 1000gbit"),
        ("{egress: 1001gbit}", "egress is 1001gbit, and a rate is between 20kbit and 1000gbit"),
        ("{egress: {burst: 10kb}}", "rate"),
        ("{egress: {rate: 10mbit, burst: 10kbit}}", "not a number of bytes such as 64kb or 1mb"),
        ("{egress: {rate: 20kbit, burst: 1mb}}", "is more than the rate sends in 4 seconds"),
        ("{egress: {rate: 20kbit, burst: 0.5}}", "is nothing at all"),
        ("{up: 10mbit}", "up"),
    ],
)
def test_what_is_no_rate_is_said_with_what_would_be(tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        endpoint(tmp_path, said)
    assert message in str(caught.value)


def test_a_packet_that_would_never_pass_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text((MANIFEST % ("front", "{egress: 100kbit}")).replace("front: {ipam", "front: {mtu: 65000, ipam"))
    with pytest.raises(ManifestError, match="at 100000 bit/s no packet of 65000 bytes, the MTU of network front"):
        load([str(path)])


def test_a_macvlan_has_no_bandwidth_and_a_bridge_with_an_uplink_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"does not pass the host, so no bandwidth.*\n?.*use a bridge with an uplink"
    ):
        endpoint(tmp_path, "{ingress: 10mbit}", "lan")


@given(st.integers(8_000, 10**12).map(lambda rate: rate // 8 * 8), st.integers(1, 4_000))
def test_a_burst_that_the_kernel_has_once_it_has_again(rate: int, burst: int) -> None:
    settled = burst_of(rate, ticks(rate, burst))
    assert settled >= burst
    assert burst_of(rate, ticks(rate, settled)) == settled
    assert ticks(rate, settled) * 64 < 1 << 32


@given(st.integers(20_000, 10**12), st.one_of(st.none(), st.integers(1, 240_000)), st.sampled_from([1280, 1500, 9000]))
def test_a_packet_fits_into_every_burst(rate: int, burst: int | None, mtu: int) -> None:
    web = Link("web/front", "veth", "", "ve0", peer=_peer())
    made = list(shaped([web], "shop", {"web/front": (Bandwidth(Rate(rate, burst), Rate(rate)), mtu)}))
    for one in made:
        if isinstance(one, Shaper):
            assert one.burst > mtu
            assert one.burst <= one.limit < 1 << 32
            assert 0 <= rate - one.rate < 8


def _peer() -> Any:
    from reconciler.resources import Peer

    return Peer("web", "eth0")


def test_an_endpoint_that_is_no_pair_is_an_error_of_its_drivers() -> None:
    web = Link("web/front", "macvlan", "web", "eth0")
    with pytest.raises(DriverError, match="endpoint web/front: bandwidth needs a veth pair"):
        list(shaped([web], "shop", {"web/front": (Bandwidth(Rate(8_000)), 1500)}))


# --- the kernel's messages, as pyroute2 has them


def decoded(body: bytes) -> Any:
    message = tcmsg(struct.pack("=IHHII", 16 + len(body), shaping.NEWQDISC, 0, 0, 0) + body)
    message.decode()
    return message


@pytest.mark.parametrize("rate", [80_000, 10_000_000, 34_359_738_360, 40_000_000_000])
def test_a_queue_is_what_pyroute2_decodes(rate: int) -> None:
    burst = burst_of(rate, ticks(rate, 20_000))
    body = shaping.queue(7, rate, burst, 150_000).body
    found = decoded(body)
    assert (found["index"], found["handle"], found["parent"]) == (7, shaping.HANDLE, 0xFFFFFFFF)
    assert found.get_attr("TCA_KIND") == "tbf"
    parts = found.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    assert parts["rate"] == min(rate // 8, 0xFFFFFFFF)
    assert (parts["limit"], parts["buffer"], parts["peak"]) == (150_000, ticks(rate, burst), 0)
    row = shaping.queue_row(body)
    assert row == shaping.QueueRow(7, "tbf", True, True, rate, burst, 150_000)


def test_a_redirection_is_what_pyroute2_decodes() -> None:
    found = decoded(shaping.redirection(7, 9).body)
    assert (found["index"], found["parent"], found["info"]) == (7, 0xFFFFFFF2, shaping.PRIORITY << 16 | 0x0300)
    assert found.get_attr("TCA_KIND") == "u32"
    options = found.get_attr("TCA_OPTIONS")
    (selector,) = [value for name, value in options["attrs"] if name == "TCA_U32_SEL"]
    assert (selector["nkeys"], selector["flags"]) == (1, 1)
    assert all(selector["keys"][0][name] == 0 for name in ("key_mask", "key_val", "key_off", "key_offmask"))
    action = options.get_attr("TCA_U32_ACT").get_attr("TCA_ACT_PRIO_1")
    assert action.get_attr("TCA_ACT_KIND") == "mirred"
    mirred = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    assert (mirred["eaction"], mirred["action"], mirred["ifindex"]) == (1, 4, 9)
    assert shaping.filter_row(shaping.redirection(7, 9).body) == shaping.FilterRow(True, 9)


@pytest.mark.parametrize(
    ("body", "index", "handle", "parent", "info", "kind"),
    [
        (shaping.delete_queue(7).body, 7, shaping.HANDLE, 0xFFFFFFFF, 0, None),
        (shaping.new_ingress(7).body, 7, 0xFFFF0000, 0xFFFFFFF1, 0, "ingress"),
        (shaping.get_ingress(7).body, 7, 0, 0xFFFFFFF1, 0, None),
        (shaping.delete_ingress(7).body, 7, 0xFFFF0000, 0xFFFFFFF1, 0, None),
        (shaping.delete_redirection(7).body, 7, 0, 0xFFFFFFF2, shaping.PRIORITY << 16 | 0x0300, None),
        (shaping.all_queues(), 0, 0, 0, 0, None),
        (shaping.filters(7), 7, 0, 0xFFFFFFF2, 0, None),
    ],
)
def test_requests_are_what_pyroute2_decodes(
    body: bytes, index: int, handle: int, parent: int, info: int, kind: str | None
) -> None:
    found = decoded(body)
    fields = tuple(found[name] for name in ("index", "handle", "parent", "info"))
    assert (*fields, found.get_attr("TCA_KIND")) == (index, handle, parent, info, kind)


def test_a_queue_with_another_handle_is_somebody_elses() -> None:
    body = bytearray(shaping.queue(7, 8_000_000, 20_000, 150_000).body)
    body[8:12] = struct.pack("=I", 1 << 16)
    assert shaping.queue_row(bytes(body)) == shaping.QueueRow(7, "tbf", True, False)


# --- the engine


def host_with(tmp_path: Path, said: str, host: FakeHost) -> Any:
    path = tmp_path / "shop.yaml"
    path.write_text(
        (MANIFEST % ("front", said)).replace(
            "  lan: {driver: macvlan, driver_opts: {parent: eth9}, ipam: {config: [{subnet: 10.21.0.0/24}]}}\n", ""
        )
    )
    return load([str(path)])


def test_only_what_is_asked_for_is_held_up(tmp_path: Path) -> None:
    host = FakeHost()
    engine.converge(host_with(tmp_path, "{ingress: 10mbit}", host), host)
    kinds = {one.kind for one in host.kernel.host.devices.values()}
    assert "ifb" not in kinds
    (veth,) = [one for one in host.kernel.host.devices.values() if one.kind == "veth"]
    assert veth.queue is not None
    assert not veth.filtered


def test_a_kernel_that_cannot_is_found_out_before_anything_is_touched(tmp_path: Path) -> None:
    for lacking, named in ((SHAPING, "sch_tbf"), ("ifb", "CONFIG_IFB")):
        host = FakeHost()
        host.kernel.lacks.add(lacking)
        with pytest.raises(HostLacks, match=named):
            engine.converge(host_with(tmp_path, "{ingress: 10mbit, egress: 5mbit}", host), host)
        assert host.writes == 0


def test_a_queue_of_somebody_elses_is_refused_where_one_of_ours_must_go(tmp_path: Path) -> None:
    host = FakeHost()
    engine.converge(host_with(tmp_path, "{}", host), host)
    (veth,) = [one for one in host.kernel.host.devices.values() if one.kind == "veth"]
    veth.foreign_queue = "netem"
    with pytest.raises(Refused, match="the queue of web/front is taken: a qdisc netem that netapply did not make"):
        engine.converge(host_with(tmp_path, "{ingress: 10mbit}", host), host)
    engine.converge(host_with(tmp_path, "{egress: 10mbit}", host), host)
    assert veth.foreign_queue == "netem"


def test_a_queue_that_somebody_has_put_in_the_place_of_ours_is_refused_too(tmp_path: Path) -> None:
    host = FakeHost()
    manifest = host_with(tmp_path, "{egress: 10mbit}", host)
    engine.converge(manifest, host)
    (ifb,) = [one for one in host.kernel.host.devices.values() if one.kind == "ifb"]
    ifb.queue, ifb.foreign_queue = None, "fq"
    with pytest.raises(Refused, match="the queue of web/front#ifb is taken: a qdisc fq"):
        engine.converge(manifest, host)
    ifb.foreign_queue = ""
    engine.converge(manifest, host)
    assert ifb.queue


def test_what_stays_without_pruning_stays_as_fast_as_it_was(tmp_path: Path) -> None:
    host, manifest = FakeHost(), tmp_path / "shop.yaml"
    engine.converge(host_with(tmp_path, "{ingress: 10mbit, egress: 5mbit}", host), host)
    manifest.write_text("project: shop\nnetworks:\n  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}\n")
    report = engine.converge(load([str(manifest)]), host, engine.Options(prune=False))
    assert not [one for one in report.plan.changes if one.key.kind == "shaper"]
    plan = engine.plan(host_with(tmp_path, "{ingress: 10mbit}", host), host, engine.Options(prune=False)).plan
    assert {one.key for one in plan.changes} == {Key("shaper", "web/front#ifb"), Key("link", "web/front#ifb")}


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (10_000_000, "10 Mbit/s"),
        (1_500_000, "1.5 Mbit/s"),
        (64_000, "64 kbit/s"),
        (10**9, "1 Gbit/s"),
        (800, "800 bit/s"),
    ],
)
def test_speeds_are_said_in_round_numbers(rate: int, said: str) -> None:
    assert words.speed(rate) == said
