"""Encrypted networks: what each host derives, what a manifest must say, how keys and peers change, what is told."""

from __future__ import annotations

import io
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from reconciler import api, cli, commands, engine
from reconciler.errors import ApplyFailed, HostLacks, ManifestError
from reconciler.firewall import Seal, Zone
from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import Device
from reconciler.host.fake_wireguard import set_identity, set_peer
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import Network, Subnet
from reconciler.plugins.contract import oversteps
from reconciler.report import json, status, text
from reconciler.report.content import Content
from reconciler.report.terminal import View
from reconciler.resources import (
    FENCES,
    WIREGUARD,
    Address,
    FdbEntry,
    Key,
    Link,
    NftTable,
    Resource,
    Route,
    Wireguard,
    WireguardPeer,
)
from reconciler.x25519 import public_key
from tests.golden import compare
from tests.strategies import new_host

PUBLIC = {number: b64encode(public_key(bytes([number]) * 32)).decode() for number in range(1, 6)}
FILE = "/etc/netapply/wireguard.key"
GOLDEN = Path(__file__).parent / "golden" / "encryption"
golden = partial(compare, GOLDEN)

TEXT = """
version: 1
project: shop
hosts:
  one: {{address: {one}, public_key: {key1}}}
  two: {{address: {two}, public_key: {key2}, wireguard_port: {port}}}
  three: {{address: {three}, public_key: {key3}}}
networks:
  front:
    driver: overlay
    driver_opts: {{{options}}}
    ipam: {{config: [{{subnet: 10.50.0.0/16}}, {{subnet: "fd00:50::/64"}}]}}
containers:
  web: {{host: one, networks: [front]}}
  db: {{host: two, networks: [front]}}
"""
IPV4 = {"one": "192.0.2.10", "two": "192.0.2.12", "three": "192.0.2.13"}
MOVED = {**IPV4, "two": "192.0.2.99"}
IPV6 = {"one": '"2001:db8::10"', "two": '"2001:db8::12"', "three": '"2001:db8::13"'}


def shop(
    options: str = "encrypted: true",
    port: int = 51820,
    key1: int = 1,
    key2: int = 2,
    hosts: Mapping[str, str] = IPV4,
) -> Manifest:
    """Return the manifest; `key1` and `key2` are the numbers of keys."""
    keys = {"key1": PUBLIC[key1], "key2": PUBLIC[key2], "key3": PUBLIC[3]}
    return load(["-"], {}, io.StringIO(TEXT.format(options=options, port=port, **hosts, **keys)))


def host_at(address: str = IPV4["one"], key: int = 1) -> FakeHost:
    """Return a host with that address and a key."""
    host = new_host()
    card = host.kernel.host.devices["eth0"]
    for have in list(card.addresses):
        host.kernel.remove_address(card, have)
    host.kernel.add_address(card, f"{address}/{64 if ':' in address else 24}")
    host.keys = {FILE: PUBLIC[key]}
    return host


def desired(manifest: Manifest, kind: type[Resource], here: str = "one", key: int = 1) -> list[Resource]:
    address = manifest.hosts[here].address
    proposal = engine.plan(manifest, host_at(address, key), engine.Options(here=here))
    return [one for one in proposal.desired.values() if isinstance(one, kind)]


def link(manifest: Manifest, path: str) -> Link:
    return next(one for one in desired(manifest, Link) if isinstance(one, Link) and one.path == path)


def device(host: FakeHost) -> Device:
    """Return the host's WireGuard link."""
    return next(one for one in host.kernel.host.devices.values() if one.kind == "wireguard")


# What a host makes


def test_the_ends_of_the_tunnel_agree_on_who_is_where() -> None:
    own: dict[str, str] = {}
    seen: dict[str, set[tuple[str, str, tuple[str, ...]]]] = {}
    for number, here in enumerate(IPV4, 1):
        (address,) = (one for one in desired(shop(), Address, here, number) if one.link == WIREGUARD)  # type: ignore[union-attr]
        own[PUBLIC[number]] = address.address  # type: ignore[union-attr]
        for peer in desired(shop(), WireguardPeer, here, number):
            assert isinstance(peer, WireguardPeer)
            seen.setdefault(peer.public_key, set()).add((peer.host, peer.endpoint, peer.allowed_ips))
    assert seen == {
        PUBLIC[number]: {(name, f"{IPV4[name]}:51820", (own[PUBLIC[number]],))} for number, name in enumerate(IPV4, 1)
    }
    assert len({address.rpartition("/")[0] for address in own.values()}) == 3
    assert all(address.startswith("fd") and address.endswith("/128") for address in own.values())


def test_what_is_for_other_hosts_goes_to_their_ends_of_the_tunnel() -> None:
    vxlan = link(shop(), "front#vxlan")
    (own,) = (one for one in desired(shop(), Address) if one.link == WIREGUARD)  # type: ignore[union-attr]
    peers = {one.host: one.allowed_ips[0] for one in desired(shop(), WireguardPeer) if isinstance(one, WireguardPeer)}
    assert (vxlan.parent, vxlan.master) == (WIREGUARD, "front")
    assert f"{vxlan.options['local6']}/128" == own.address  # type: ignore[union-attr]
    assert "local" not in vxlan.options
    assert [f"{one.via}/128" for one in desired(shop(), FdbEntry)] == [peers["two"]]  # type: ignore[union-attr]


def test_the_tunnel_is_one_for_all_encrypted_networks_of_a_project_and_differs_between_projects() -> None:
    both = TEXT.replace(
        "containers:", "  back: {{driver: overlay, driver_opts: {{encrypted: true, mode: l3}}}}\ncontainers:"
    )
    keys = {"key1": PUBLIC[1], "key2": PUBLIC[2], "key3": PUBLIC[3]}
    found = load(["-"], {}, io.StringIO(both.format(options="encrypted: true", port=51820, **IPV4, **keys)))
    assert link(found, "back#vtep").parent == link(found, "front#vxlan").parent == WIREGUARD
    assert len(desired(found, Wireguard)) == 1
    other = replace(shop(), project="other")
    ends = [{str(one.key) for one in desired(each, Address) if WIREGUARD in str(one.key)} for each in (shop(), other)]
    assert ends[0].isdisjoint(ends[1])
    assert link(shop(), WIREGUARD).name != link(other, WIREGUARD).name


@pytest.mark.parametrize(("hosts", "tunnel", "within"), [(IPV4, 1440, 1370), (IPV6, 1420, 1350)])
def test_both_layers_take_their_share_of_the_mtu(hosts: dict[str, str], tunnel: int, within: int) -> None:
    manifest = shop(hosts=hosts)
    assert link(manifest, WIREGUARD).mtu == tunnel
    assert link(manifest, "front#vxlan").mtu == link(manifest, "front").mtu == within


def test_an_ipv6_endpoint_is_in_brackets() -> None:
    found = {
        one.endpoint for one in desired(shop(port=51999, hosts=IPV6), WireguardPeer) if isinstance(one, WireguardPeer)
    }
    assert found == {"[2001:db8::12]:51999", "[2001:db8::13]:51820"}


def test_fences_stand_behind_all_ways_into_the_tunnel_and_where_a_host_that_left_had_its_part() -> None:
    for mode, within in (("l2", []), ("l3", ["10.50.0.0/16", "fd00:50::/64"])):
        routes = [one for one in desired(shop(f"encrypted: true, mode: {mode}"), Route) if isinstance(one, Route)]
        ways = {ip_network(one.destination) for one in routes if one.link and "/" not in one.link}
        fences = {ip_network(one.destination) for one in routes if one.type == "unreachable" and one.metric in FENCES}
        assert all(any(way.version == one.version and way.subnet_of(one) for one in fences) for way in ways)  # type: ignore[arg-type]
        assert {str(one) for one in fences if str(one)[:4] != "fd25"} == set(within)


def test_the_fences_and_the_firewall_are_there_before_anything_that_sends() -> None:
    order = [change.key for change in engine.plan(shop("encrypted: true, mode: l3"), host_at()).plan.changes]
    first = min(order.index(key) for key in order if key.kind == "link")
    fences = [place for place, key in enumerate(order) if key.kind == "route" and int(key.name.split()[-1]) in FENCES]
    table = next(place for place, key in enumerate(order) if key == Key("nft", "inet netapply-shop"))
    assert max(*fences, table) < first


def test_the_firewall_keeps_each_network_to_the_tunnel() -> None:
    (table,) = (
        one for one in desired(shop("encrypted: true, vni: 77, port: 4790"), NftTable) if "shop" in one.key.name
    )
    assert isinstance(table, NftTable)
    name = link(shop(), WIREGUARD).name
    for side in ("iifname", "oifname"):
        assert f'meta nfproto ipv6 {side} != "{name}" udp dport 4790 @th,96,24 {{ 77 }} drop' in table.text
    assert f'ipv6 . "{name}"' in table.text.partition("set closed {")[2].partition("}")[0]
    assert 'oifname != "lo" oifname != @zones ip daddr { 10.50.0.0/16 } drop' in table.text


# What a manifest must say


def wrong(manifest: str) -> str:
    with pytest.raises(ManifestError) as told:
        load(["-"], {}, io.StringIO(manifest))
    return str(told.value)


def test_a_host_without_a_key_is_told_where_a_network_is_encrypted(tmp_path: Path) -> None:
    keyless = TEXT.replace(", public_key: {key2}", "").replace(", public_key: {key3}", "")
    manifest = tmp_path / "shop.yaml"
    manifest.write_text(keyless.format(options="encrypted: true", port=51820, **IPV4, key1=PUBLIC[1]))
    with pytest.raises(ManifestError) as told:
        api.load(manifest)
    assert [(one.position.line, one.what) for one in told.value.problems] == [
        (6, "host two has no public_key, and network front is encrypted"),
        (7, "host three has no public_key, and network front is encrypted"),
    ]
    assert "netapply keys --write" in told.value.problems[0].mend
    with pytest.raises(ManifestError, match="host two has no public_key"):
        engine.plan(load([str(manifest)]), host_at())
    manifest.write_text(manifest.read_text().replace("encrypted: true", "encrypted: false"))
    api.load(manifest)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (PUBLIC[2], PUBLIC[1], "hosts one and two have the same public_key"),
        (PUBLIC[2], PUBLIC[2][:-1], "not a public key of WireGuard"),
        (PUBLIC[2], PUBLIC[2][:42] + "B=", "not a public key of WireGuard"),
        ("wireguard_port: 51820", "wireguard_port: 4789", "UDP port 4789, where network front is"),
        ("wireguard_port: 51820", "wireguard_port: 0", "wireguard_port"),
        ("wireguard_port: 51820", "private_key_file: keys/mine", "not the path of a file"),
        ("encrypted: true", "encrypted: true, mode: l3, direct_routing: true", "are not encrypted"),
    ],
)
def test_what_is_wrong_with_keys_and_ports_is_told(before: str, after: str, words: str) -> None:
    keys = {"key1": PUBLIC[1], "key2": PUBLIC[2], "key3": PUBLIC[3]}
    good = TEXT.format(options="encrypted: true", port=51820, **IPV4, **keys)
    assert before in good
    assert words in wrong(good.replace(before, after))


def test_a_link_between_the_hosts_that_is_too_small_is_told() -> None:
    host = host_at()
    host.kernel.set_mtu(host.kernel.host.devices["eth0"], 1330)
    with pytest.raises(ManifestError, match="has an MTU of 1330, and WireGuard leaves 1270 of it"):
        engine.plan(shop(), host)


# Keys


@pytest.mark.parametrize(
    ("keys", "words"),
    [({}, "there is no private key in"), ({FILE: PUBLIC[4]}, f"public key {PUBLIC[4]}, and the manifest says")],
)
@pytest.mark.parametrize("act", [engine.plan, engine.converge])
def test_a_host_that_is_not_who_the_manifest_says_is_told_before_anything_is_touched(
    act: object, keys: dict[str, str], words: str
) -> None:
    host = host_at()
    host.keys = keys
    before = host.snapshot()
    with pytest.raises(HostLacks, match="netapply keys") as told:
        act(shop(), host)  # type: ignore[operator]
    assert words in str(told.value)
    assert host.snapshot() == before


def test_a_new_key_of_this_host_and_of_another_one_changes_no_more_than_that() -> None:
    host = host_at()
    engine.converge(shop(), host)
    host.keys[FILE] = PUBLIC[4]
    plan = engine.converge(shop(key1=4, key2=5), host).plan
    assert sorted(f"{type(one).__name__} {one.key}" for one in plan.changes) == [
        f"Create peer {WIREGUARD} {PUBLIC[5]}",
        f"Delete peer {WIREGUARD} {PUBLIC[2]}",
        f"Update wireguard {WIREGUARD}",
    ]
    assert not engine.plan(shop(key1=4, key2=5), host).plan


def test_rolling_back_brings_the_key_back_that_no_file_has_any_more() -> None:
    host = host_at()
    engine.converge(shop(), host)
    host.keys[FILE] = PUBLIC[4]
    before = host.snapshot()
    for after in (shop(key1=4, key2=5), shop("encrypted: false")):
        for at in range(3):
            host.trap = _failing(at)
            with pytest.raises(ApplyFailed, match="as it was before"):
                engine.converge(after, host)
            host.trap = None
            assert host.snapshot() == before


def _failing(at: int) -> Callable[[str], None]:
    seen = iter(range(1000))

    def trap(what: str) -> None:
        if next(seen) == at:
            raise OSError(105, os.strerror(105))

    return trap


def test_a_host_that_moves_is_looked_for_where_it_is_now_and_one_that_roams_is_left_alone() -> None:
    host = host_at()
    engine.converge(shop(), host)
    peers = device(host).peers
    peers[PUBLIC[2]] = "198.51.100.1:9", peers[PUBLIC[2]][1]
    assert not engine.plan(shop(), host).plan
    moved = shop(hosts=MOVED)
    changes = engine.converge(moved, host).plan.changes
    assert {change.key.kind for change in changes} == {"peer", "fdb"}
    assert device(host).peers[PUBLIC[2]][0] == "192.0.2.99:51820"


# Others


def test_a_peer_that_nobody_in_the_manifest_is_goes() -> None:
    host = host_at()
    engine.converge(shop(), host)
    set_peer(host.kernel, device(host), WireguardPeer(WIREGUARD, PUBLIC[5], "", ("::/0",)))
    (change,) = engine.converge(shop(), host).plan.changes
    assert change.key == Key("peer", f"{WIREGUARD} {PUBLIC[5]}")
    assert PUBLIC[5] not in device(host).peers


def test_a_link_of_somebody_elses_keeps_its_port_and_everything_else() -> None:
    host = host_at()
    theirs = host.kernel.add_link(host.kernel.host, "wg0", "wireguard")
    host.kernel.set_up(theirs, True)
    set_identity(host.kernel, theirs, Wireguard("", PUBLIC[5], 51820, "theirs"), {"theirs": PUBLIC[5]}, {})
    before = host.snapshot()
    (refusal,) = engine.plan(shop(), host).refusals
    assert refusal.startswith("UDP port 51820 of the host is taken: ")
    assert "wg0" in refusal
    with pytest.raises(Exception, match="UDP port 51820"):
        engine.converge(shop(), host)
    assert host.snapshot() == before
    elsewhere = shop()
    hosts = {**elsewhere.hosts, "one": elsewhere.hosts["one"]._replace(wireguard_port=51999)}
    engine.converge(replace(elsewhere, hosts=hosts), host)
    engine.destroy("shop", host)
    assert host.kernel.host.devices["wg0"] is theirs
    assert (theirs.public_key, theirs.port_number, theirs.up) == (PUBLIC[5], 51820, True)


def test_two_projects_do_not_touch_each_others_tunnels() -> None:
    host = host_at()
    engine.converge(shop(), host)
    other = replace(shop("encrypted: true, vni: 99, name: other0"), project="other")
    hosts = {name: one._replace(wireguard_port=52000) for name, one in other.hosts.items()}
    networks = {"front": replace(other.networks["front"], ipam=(), enable_ipv6=False)}
    other = replace(other, hosts=hosts, networks=networks, containers={})
    before = host.snapshot()
    engine.converge(other, host)
    assert not engine.plan(shop(), host).plan
    engine.destroy("other", host)
    assert host.snapshot()[""] == before[""]


def test_without_pruning_what_is_encrypted_stays_so() -> None:
    host = host_at()
    engine.converge(shop("encrypted: true, vni: 77, mode: l3"), host)
    before = engine.plan(shop("encrypted: true, vni: 77, mode: l3"), host).desired
    none = load(["-"], {}, io.StringIO("project: shop\nnetworks: {lan: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}"))
    after = engine.plan(none, host, engine.Options(prune=False)).desired
    key = Key("nft", "inet netapply-shop")
    tables = [
        table.text.partition("chain input")[2] for table in (before[key], after[key]) if isinstance(table, NftTable)
    ]
    assert "{ 77 }" in tables[0]
    assert tables[0] == tables[1]
    kept = {Wireguard, WireguardPeer, Route, FdbEntry}
    assert {one for one, value in before.items() if type(value) in kept and one.name[:4] != "web "} <= after.keys()


@pytest.mark.parametrize("hosts", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_encryption_is_turned_on_and_off(hosts: dict[str, str], mode: str) -> None:
    host = host_at(hosts["one"].strip('"'))
    for options in (f"mode: {mode}", f"mode: {mode}, encrypted: true", f"mode: {mode}"):
        engine.converge(shop(options, hosts=hosts), host)
        assert not engine.plan(shop(options, hosts=hosts), host).plan
    assert not any(one.kind == "wireguard" for one in host.kernel.host.devices.values())


# What is told


def content(manifest: Manifest, host: FakeHost) -> Content:
    plan = engine.plan(manifest, host).plan
    return Content("shop", plan, tuple(manifest.networks), tuple(manifest.containers), manifest.position)


def test_plans_and_what_is_there_are_told_as_in_the_golden_files() -> None:
    host = host_at()
    golden("from-clean.txt", text.plan(content(shop(), host), View()))
    golden("from-clean.verbose.txt", text.plan(content(shop(), host), View(verbose=True)))
    golden("from-clean.json", json.text(json.plan(content(shop(), host))))
    golden("l3.txt", text.plan(content(shop("encrypted: true, mode: l3"), host), View()))
    engine.converge(shop(), host)
    set_peer(host.kernel, device(host), WireguardPeer(WIREGUARD, PUBLIC[5], "", ("::/0",)))
    host.keys[FILE] = PUBLIC[4]
    golden("keys.txt", text.plan(content(shop(key1=4, hosts=MOVED), host), View()))
    observed = engine.plan(shop(key1=4), host).observation.state
    golden("status.txt", status.tree("shop", observed, content(shop(key1=4), host), View()))
    host.kernel.remove_link(device(host))
    golden("link-lost.txt", text.plan(content(shop(key1=4), host), View()))
    engine.converge(shop(key1=4), host)
    golden("plain.txt", text.plan(content(shop("encrypted: false"), host), View()))


def test_drivers_of_others_seal_nothing() -> None:
    network = Network("shop", "front", "theirs", 1500, subnets=(Subnet("10.50.0.0/16"),))
    zone = Zone("front", "br0", ("10.50.0.0/16",))
    assert list(oversteps(network, [zone])) == []
    (line,) = oversteps(network, [replace(zone, seal=Seal("eth0", 53, 1, ("0.0.0.0/0",)))])
    assert "a seal is not for drivers of others" in line


# The command


SHOP = """\
project: shop
hosts:
  one: {address: 192.0.2.10}  # the first
  two:
    address: 192.0.2.12
    # of whom nobody knows the key yet
networks: {front: {driver: overlay, driver_opts: {encrypted: true}}}
"""


def run(*words: str) -> int:
    return cli.run(["keys", *words])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    host = host_at()
    host.keys.clear()
    monkeypatch.setattr(commands, "host_factory", lambda: host)
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(SHOP)
    return host


def test_a_key_is_made_once_and_told_with_what_is_to_be_done(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("shop.yaml") == 0
    key = host.keys[FILE]
    assert capsys.readouterr().out == (
        f"host one: public_key {key} (made {FILE})\n"
        "note: the manifest has none yet; --write puts this one there\n"
        "host two: no public_key yet; run this on it\n"
    )
    assert run("shop.yaml", "--format", "json") == 0
    said = capsys.readouterr().out
    assert f'"one": "{key}"' in said
    assert '"made": false' in said
    assert Path("shop.yaml").read_text() == SHOP


def test_keys_are_written_into_the_manifest_and_comments_stay(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("shop.yaml", "--write") == 0
    one = host.keys[FILE]
    assert "shop.yaml: hosts.one.public_key written" in capsys.readouterr().out
    host.keys[FILE] = two = PUBLIC[5]
    assert run("shop.yaml", "--write", "--host", "two") == 0
    assert Path("shop.yaml").read_text() == SHOP.replace(
        "{address: 192.0.2.10}", f"{{public_key: {one}, address: 192.0.2.10}}"
    ).replace("  two:\n", f"  two:\n    public_key: {two}\n")
    api.load("shop.yaml")
    assert run("shop.yaml", "--write", "--host", "two") == 0
    assert "written" not in capsys.readouterr().out.partition(two)[2].partition(two)[2]


def test_another_key_takes_the_place_of_the_old_one(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shop.yaml").write_text(SHOP.replace("192.0.2.10}", f'192.0.2.10, public_key: "{PUBLIC[4]}"}}'))
    assert run("shop.yaml") == 0
    assert f"note: the manifest has another one, {PUBLIC[4]}; --write" in capsys.readouterr().out
    assert run("shop.yaml", "--write") == 0
    assert host.keys[FILE] in Path("shop.yaml").read_text()
    assert PUBLIC[4] not in Path("shop.yaml").read_text()


def test_a_key_that_a_variable_says_is_not_written_over(
    host: FakeHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", PUBLIC[4])
    before = SHOP.replace("192.0.2.10}", '192.0.2.10, public_key: "${KEY}"}')
    Path("shop.yaml").write_text(before)
    assert run("shop.yaml", "--write") == 65
    assert "stands for a variable" in capsys.readouterr().err
    assert Path("shop.yaml").read_text() == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-", "--write"], 64, "standard input can't be written to"),
        (["shop.yaml", "--host", "thre"], 65, "there is no host thre"),
        (["plain.yaml"], 65, "there are no hosts"),
    ],
)
def test_what_can_not_be_is_told(
    host: FakeHost, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    Path("plain.yaml").write_text("project: shop\n")
    assert run(*words) == code
    assert said in capsys.readouterr().err
    assert host.keys == {}
