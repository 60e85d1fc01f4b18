"""Reports of plans made by hand, against golden files, and what no golden file can show.

`RENEW_GOLDEN=1 pytest tests/unit/test_report.py` writes the files anew; read the diff.
"""

from __future__ import annotations

import io
import json as standard
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler import drivers
from reconciler.errors import LockHeld, ManifestError, Position, Problem, Refused, RollbackFailed
from reconciler.firewall import Zone
from reconciler.networks import Endpoint, Network, Parent, StaticRoute
from reconciler.plan import Plan, diff
from reconciler.report import changes, json, problems, progress, status, text
from reconciler.report.content import Content
from reconciler.report.entries import Counts, count, fold
from reconciler.report.terminal import View, view_of
from reconciler.resources import (
    GUARD_TABLE,
    VLANS,
    Address,
    BridgeVlan,
    Link,
    Netns,
    NftTable,
    Peer,
    Port,
    Resource,
    Route,
    Shaper,
    Sysctl,
    state,
)
from tests.golden import compare

GOLDEN = Path(__file__).parent / "golden" / "report"
golden = partial(compare, GOLDEN)
SCHEMA = Path(__file__).parents[2] / "schemas" / "plan.schema.json"

BRIDGE = Link("front", "bridge", "", "shop-front", mtu=1500, mac="02:00:00:00:00:01", ipv6=True)
GATEWAYS = (Address("front", "10.20.0.1/24"), Address("front", "fd00:20::1/64"))
TABLE = NftTable(
    "inet",
    "netapply-shop",
    "table inet netapply-shop {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n"
    '\t\tiifname "shop-front" oifname "shop-back" drop\n\t}\n\n\tchain postrouting {\n'
    "\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\tip saddr 10.20.0.0/24 masquerade\n\t}\n}",
)
HOST = (TABLE, Sysctl("net.ipv4.ip_forward", "1"))


def veth(container: str, number: int) -> tuple[Resource, ...]:
    """The resources of a container with one endpoint on front."""
    link = Link(
        f"{container}/front",
        "veth",
        "",
        f"ve{container}",
        mtu=1500,
        master="front",
        port={"isolated": False, "hairpin": False},
        peer=Peer(container, "eth0", mtu=1500, mac=f"02:00:00:00:01:{number:02x}", ipv6=True),
    )
    return (
        Netns(container, f"netns:{container}"),
        link,
        Address(link.path, f"10.20.0.{number}/24"),
        Address(link.path, f"fd00:20::{number:x}/64"),
        Route(container, "0.0.0.0/0", "10.20.0.1", link.path),
        Route(container, "::/0", "fd00:20::1", link.path, 1024),
    )


def macvlan(mode: str, parent: str = "/eth0") -> tuple[Resource, ...]:
    link = Link("api/lan", "macvlan", "api", "eth1", mtu=1500, parent=parent, options={"mode": mode})
    return (Netns("api", "netns:api"), link, Address(link.path, "192.168.20.64/24"))


def on_parent(driver: str, parent: Parent, *, access: bool = False, **options: str) -> tuple[Resource, ...]:
    """What a driver makes of a network lan on a parent, with a container on it."""
    found = drivers.find(driver)
    assert found is not None
    gateway = None if options.get("mode") == "l3" else "10.9.0.1"
    way = StaticRoute("0.0.0.0/0", gateway)
    web = Endpoint("web", "lan", "eth0", "02:00:00:00:00:09", ("10.9.0.10/24",), (way,))
    host = ("10.9.0.250/32",) if access else ()
    lan = Network("shop", "lan", driver, 1500, options, endpoints=(web,), parent=parent, host_addresses=host)
    return (Netns("web", "netns:web"), *(one for one in found.lower(lan) if not isinstance(one, Zone)))


def of_nothing() -> tuple[Resource, ...]:
    """What the drivers none and host make, of a network with a container each: a namespace for that of none."""
    for driver, container in (("none", "api"), ("host", "web")):
        found = drivers.find(driver)
        assert found is not None
        network = Network("shop", "lan", driver, 1500, endpoints=(Endpoint(container, "lan", "", ""),))
        assert not list(found.lower(network))
    return (Netns("api", "netns:api"),)


ETH0 = Parent("eth0")
VLAN = Parent("eth0.20", "vlan", "#eth0.20", ETH0, 20, 1500)
DUMMY = Parent("dm0", "dummy", "lan#parent")

SHOP = (BRIDGE, *GATEWAYS, *veth("web", 10), *veth("api", 11), *HOST)


def edited(resources: tuple[Resource, ...], *edits: tuple[str, Mapping[str, Any]]) -> tuple[Resource, ...]:
    """The resources with fields changed; each edit is for the one whose key reads so."""
    for key, changed in edits:
        assert any(str(one.key) == key for one in resources), key
        resources = tuple(replace(one, **changed) if str(one.key) == key else one for one in resources)
    return resources


def without(container: str) -> tuple[Resource, ...]:
    gone = veth(container, 11)
    return tuple(one for one in SHOP if one not in gone)


WEB = SHOP[4]
assert isinstance(WEB, Link)
assert WEB.peer is not None
NARROW = edited(
    SHOP,
    ("link front", {"mtu": 1400}),
    ("link web/front", {"mtu": 1400, "peer": replace(WEB.peer, mtu=1400)}),
)
ROUTES = (
    Route("web", "10.99.0.0/16", "10.20.0.7", "web/front", 50),
    Route("web", "10.98.0.0/16", None, "web/front"),
    Route("web", "10.97.0.0/16", type="blackhole"),
)

BACK = replace(BRIDGE, path="back", name="shop-back", mac="02:00:00:00:00:02")
SWAPPED = edited(
    (BRIDGE, BACK, *veth("web", 10), *macvlan("bridge", "front")),
    ("link front", {"name": "shop-back"}),
    ("link back", {"name": "shop-front"}),
)
MOVED = edited(veth("web", 10), ("link web/front", {"peer": replace(WEB.peer, sandbox="@old")}))[1:]

UPLINKED = (replace(BRIDGE, tags=("protect", "uplink=eth1")), Port("front#uplink", "eth1", "front"))
FILTERING = replace(BRIDGE, options={"vlan_filtering": True, "vlan_default_pvid": 0}, tags=(VLANS,))
VLAN_SET = (
    BridgeVlan("front", 1, pvid=True, untagged=True),
    BridgeVlan("web/front", 10, pvid=True, untagged=True),
    *(BridgeVlan("api/front", number) for number in (10, *range(20, 31))),
)
VLAN_EDITED = (
    *VLAN_SET[:1],
    BridgeVlan("web/front", 20, pvid=True, untagged=True),
    BridgeVlan("api/front", 10, pvid=True, untagged=True),
    *(BridgeVlan("api/front", number) for number in range(20, 41)),
)

SHAPED = (
    *edited(SHOP, ("link web/front", {"tags": ("shaped",)})),
    Link("web/front#ifb", "ifb", "", "ifweb"),
    Shaper("web/front", 10_000_000, 15_000, 150_000),
    Shaper("web/front#ifb", 5_000_000, 65_536, 200_000, True),
)

CASES: dict[str, tuple[tuple[Resource, ...], tuple[Resource, ...]]] = {
    "from-clean": (SHOP, ()),
    "nothing": (SHOP, SHOP),
    "mtu": (NARROW, SHOP),
    "address": (
        edited(SHOP, ("address web/front 10.20.0.10/24", {"address": "10.20.0.77/24"})),
        SHOP,
    ),
    "second-address": ((*SHOP, Address("web/front", "10.20.0.78/24")), SHOP),
    "gateway": (edited(SHOP, ("route web 0.0.0.0/0 metric 0", {"via": "10.20.0.254"})), SHOP),
    "routes": ((*SHOP, *ROUTES), SHOP),
    "renamed": (edited(SHOP, ("link web/front", {"peer": replace(WEB.peer, name="lan0")})), SHOP),
    "inner-end-lost": (SHOP, edited(SHOP, ("link web/front", {"peer": None}))),
    "down": (SHOP, edited(SHOP, ("link web/front", {"up": False, "master": None}))),
    "port-options": (
        edited(
            SHOP, ("link web/front", {"port": {"isolated": True, "hairpin": True}, "sysctls": {"ipv4.conf.a": "1"}})
        ),
        SHOP,
    ),
    "bridge-lost": (SHOP, tuple(one for one in SHOP if one not in (BRIDGE, *GATEWAYS))),
    "container-removed": (without("api"), SHOP),
    "none-and-host": (of_nothing(), ()),
    "macvlan": (macvlan("bridge"), ()),
    "macvlan-mode": (macvlan("private"), macvlan("bridge")),
    "driver": (edited(SHOP, ("link web/front", {"kind": "macvlan", "parent": "/eth0", "peer": None})), SHOP),
    "moved": (edited(SHOP, ("link web/front", {"peer": replace(WEB.peer, sandbox="api")})), SHOP),
    "macvlan-parent": (macvlan("bridge", "/eth9"), macvlan("bridge")),
    "firewall-edited": (SHOP, edited(SHOP, ("nft inet netapply-shop", {"text": TABLE.text.replace("drop", "accept")}))),
    "firewall-long": (
        SHOP,
        edited(
            SHOP,
            (
                "nft inet netapply-shop",
                {"text": TABLE.text.replace("\t\tip saddr", "\t\tip daddr 1.2.3.4 drop\n" * 40 + "\t\tip saddr")},
            ),
        ),
    ),
    "ipvlan": (on_parent("ipvlan", ETH0, mode="l3", access=True), ()),
    "ipvlan-mode": (on_parent("ipvlan", ETH0, mode="l3"), on_parent("ipvlan", ETH0, mode="l2")),
    "macvlan-vlan": (on_parent("macvlan", VLAN), ()),
    "macvlan-vlan-gone": ((), on_parent("macvlan", VLAN, access=True)),
    "macvlan-dummy": (on_parent("macvlan", DUMMY), ()),
    "host-access": (on_parent("macvlan", ETH0, access=True), on_parent("macvlan", ETH0)),
    "host-access-gone": (on_parent("macvlan", ETH0), on_parent("macvlan", ETH0, access=True)),
    "uplink": ((*UPLINKED, *SHOP[1:]), SHOP),
    "uplink-with-its-network": (UPLINKED, ()),
    "uplink-gone": (SHOP, (*UPLINKED, *SHOP[1:])),
    "uplink-with-its-network-gone": ((), UPLINKED),
    "uplink-down": (
        edited(UPLINKED, ("port front#uplink", {"up": True})),
        edited(UPLINKED, ("port front#uplink", {"up": False})),
    ),
    "uplink-other": (edited(UPLINKED, ("port front#uplink", {"name": "eth2"})), UPLINKED),
    "vlans": ((FILTERING, *SHOP[1:], *VLAN_SET), SHOP),
    "vlans-changed": ((FILTERING, *SHOP[1:], *VLAN_EDITED), (FILTERING, *SHOP[1:], *VLAN_SET)),
    "bandwidth": (SHAPED, SHOP),
    "bandwidth-from-clean": (SHAPED, ()),
    "bandwidth-changed": (
        edited(SHAPED, ("shaper web/front", {"rate": 500_000}), ("shaper web/front#ifb", {"burst": 131_072})),
        SHAPED,
    ),
    "bandwidth-lost": (
        SHAPED,
        tuple(
            replace(one, rate=0, burst=0, limit=0, redirect=False) if isinstance(one, Shaper) else one
            for one in SHAPED
            if str(one.key) not in ("shaper web/front", "link web/front#ifb")
        ),
    ),
    "bandwidth-gone": (SHOP, SHAPED),
    "setting": (SHOP, edited(SHOP, ("sysctl net.ipv4.ip_forward", {"value": "0"}))),
    "bridges-swapped": (SWAPPED, (BRIDGE, BACK, *veth("web", 10), *macvlan("bridge", "front"))),
    "namespace-of-nobody": (veth("web", 10), (Netns("@old", "netns:old"), *MOVED)),
    "busy-namespace": (without("api"), edited(SHOP, ("netns api", {"busy": True}))),
    "destroy": ((), SHOP),
    "leftover": (SHOP, (*SHOP, Link("?7", "veth", "", "ve123", peer=Peer("web", "eth9")))),
    "host-route": ((Route("", "10.9.0.0/16", type="blackhole"),), ()),
}


def position(*path: str) -> Position:
    """A place for each path: the line tells what was asked for, in a manifest where front is line 5, web line 20."""
    lines = {"front": 5, "lan": 9, "web": 20, "api": 30}
    return Position("shop.yaml", sum(lines.get(word, 0) for word in path) + len(path), 3)


def content(name: str, **more: Any) -> Content:
    desired, observed = CASES[name]
    plan = diff(state(list(desired)), state(list(observed)))
    return Content("shop", plan, ("front", "lan"), ("web", "api"), position, **more)


@pytest.mark.parametrize("name", CASES)
def test_a_plan_reads_like_a_good_diff(name: str) -> None:
    golden(f"{name}.txt", text.plan(content(name), View()))


@pytest.mark.parametrize("name", ["from-clean", "firewall-long", "mtu"])
def test_verbose_adds_every_object_and_the_whole_firewall(name: str) -> None:
    golden(f"{name}.verbose.txt", text.plan(content(name), View(verbose=True)))


@pytest.mark.parametrize("name", ["mtu", "inner-end-lost", "container-removed"])
def test_a_plan_as_json_is_as_agreed(name: str) -> None:
    golden(f"{name}.json", json.text(json.plan(content(name))))


@pytest.mark.parametrize("name", CASES)
def test_json_of_every_plan_is_valid_by_the_published_schema(name: str) -> None:
    schema = standard.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    told = content(name, pending={"db": "it does not run"}, refusals=("no",), seconds=0.1234567)
    printed = standard.loads(json.text(json.plan(told)))
    validator.validate(printed)
    assert printed["seconds"] == 0.123
    assert not validator.is_valid({**printed, "format_version": 2})


def test_an_applied_plan_is_told_in_the_past_with_its_time() -> None:
    told = content("mtu", seconds=0.1234, pending={"db": "no process runs in it"})
    golden("applied.txt", text.plan(told, View()))


def test_a_checked_plan_says_what_stands_in_its_way_and_that_nothing_was_changed() -> None:
    told = content("macvlan", refusals=("interface name eth1 in api is taken: a veth that netapply did not make",))
    golden("refused.txt", text.plan(told, View(), checked=True))


def test_colours_are_those_of_a_diff() -> None:
    coloured = text.plan(content("mtu"), View(colour=True))
    assert "\x1b[33m~\x1b[0m \x1b[33mendpoint web\x1b[0m" in coloured
    assert "\x1b[31m-\x1b[0m" in text.plan(content("destroy"), View(colour=True))
    assert "\x1b[32m+\x1b[0m" in text.plan(content("from-clean"), View(colour=True))
    assert "\x1b[36m↻\x1b[0m" in text.plan(content("inner-end-lost"), View(colour=True))
    assert "\x1b" not in text.plan(content("mtu"), View())


def test_a_stream_without_the_letters_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    printed = text.plan(content("inner-end-lost"), view_of(stream, {})) + text.plan(content("mtu"), view_of(stream, {}))
    assert printed.isascii()
    assert "-/+ endpoint web" in printed
    assert "mtu 1500 -> 1400" in printed


def test_names_from_elsewhere_cant_drive_the_terminal() -> None:
    told = content("nothing", refusals=("a link named \x1b[2J\x07\x9b",))
    assert "\\x1b[2J\\x07\\x9b" in text.plan(told, View(colour=True))


def test_one_counts_what_a_reader_takes_for_one() -> None:
    plan = content("from-clean").plan
    assert count(fold(plan)) == Counts(add=7)  # a bridge, two endpoints, two containers, the firewall, a setting
    assert plan.counts[0] == len(SHOP) == 17
    assert count(fold(content("mtu").plan)) == Counts(change=2)
    assert count(fold(content("inner-end-lost").plan)) == Counts(replace=1)


def test_every_change_is_in_exactly_one_entry() -> None:
    for name in CASES:
        plan = content(name).plan
        folded = [change for entry in fold(plan) for change in entry.changes]
        assert sorted(map(repr, folded)) == sorted(map(repr, plan.changes))


def test_what_is_removed_points_to_no_line_of_the_manifest() -> None:
    printed: Any = json.plan(content("container-removed"))
    assert {change["source"] for change in printed["changes"]} == {None}


def test_an_mtu_points_to_the_network_that_says_it() -> None:
    asked: list[tuple[str, ...]] = []

    def asking(*path: str) -> Position:
        asked.append(path)
        return Position("shop.yaml", 1, 1)

    json.plan(content("mtu")._replace(position=asking))
    assert asked == [("networks", "front", "mtu")] * 2


def test_two_huge_firewalls_are_not_compared_line_by_line() -> None:
    def table(word: str) -> NftTable:
        return replace(TABLE, text="\n".join(f"{word} {number}" for number in range(changes.LONGEST_DIFF)))

    plan = diff(state([table("a")]), state([table("b")]))
    assert "20000 lines → 20000 lines" in text.plan(Content("shop", plan), View())


@pytest.mark.parametrize(
    "name",
    [
        "from-clean",
        "nothing",
        "mtu",
        "address",
        "inner-end-lost",
        "container-removed",
        "namespace-of-nobody",
        "macvlan-vlan-gone",
        "ipvlan-mode",
    ],
)
def test_status_is_a_tree_with_what_has_drifted(name: str) -> None:
    told = content(name, pending={"db": "no process runs in it"})
    golden(f"status-{name}.txt", status.tree("shop", state(list(CASES[name][1])), told, View()))


def test_status_without_a_manifest_says_what_is_there_and_nothing_of_drift() -> None:
    golden("status-alone.txt", status.tree("shop", state([*SHOP, *macvlan("bridge")[1:]]), None, View()))
    assert status.tree("shop", {}, None, View()) == "shop: nothing there\n"
    printed: Any = json.status("shop", state(list(SHOP)), None)
    assert len(printed["resources"]) == len(SHOP)
    assert printed["drift"] is None


def test_errors_of_a_manifest_show_the_line_and_a_caret() -> None:
    problem = Problem(Position("shop.yaml", 2, 4), "there is no driver brigde", "is it bridge?")
    failure = ManifestError([problem], {"shop.yaml": "a:\n\t\tbrigde: x\n"})
    assert problems.text(failure, View(), sources=True).splitlines() == [
        "shop.yaml:2:4: error: there is no driver brigde; is it bridge?",
        "     2 | \t\tbrigde: x",
        "       | \t\t ^",
    ]
    assert problems.text(failure, View(), sources=False) == f"{failure}\n"


def test_of_a_long_line_the_part_around_the_error_is_shown() -> None:
    failure = ManifestError([Problem(Position("f", 1, 5000), "bad")], {"f": "x" * 4999 + "!" + "y" * 5000})
    _, line, caret = problems.text(failure, View(), sources=True).splitlines()
    assert len(line) < 200
    assert line[caret.index("^")] == "!"


def test_of_very_many_errors_the_first_are_told_and_the_rest_counted() -> None:
    failure = ManifestError([Problem(Position("f", line, 1), "bad") for line in range(1, 80)])
    told = problems.text(failure, View(), sources=False).splitlines()
    assert told[-2:] == ["f:50:1: error: bad", "and 29 more"]


def test_refusals_and_what_is_left_are_told_line_by_line() -> None:
    assert problems.text(Refused(["one", "two"]), View(), sources=False) == "error: refused: one\nerror: refused: two\n"
    failure = RollbackFailed("it failed", ["link web/front"])
    assert problems.text(failure, View(), sources=False) == "error: it failed\n    left: link web/front\n"


def test_errors_as_json_carry_their_parts() -> None:
    position = Position("f", 2, 3)
    printed: Any = json.error(ManifestError([Problem(position, "bad", "mend it")]))
    assert printed["error"]["problems"] == [
        {"source": {"file": "f", "line": 2, "column": 3}, "what": "bad", "mend": "mend it"}
    ]
    assert printed["error"]["exit_code"] == 65
    printed = json.error(LockHeld("another run holds the lock"))
    assert (printed["error"]["kind"], printed["error"]["exit_code"]) == ("LockHeld", 75)
    printed = json.error(RollbackFailed("x", ["link a"]))
    assert printed["error"]["left"] == ["link a"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_apply_draws_a_bar_and_wipes_it() -> None:
    stream = Terminal()
    draw = progress.bar(stream, View())
    assert draw is not None
    for done in range(1, 1001):
        draw(done, 1000)
    frames = stream.getvalue().split("\r")
    assert len(frames) <= progress.WIDTH + 3  # a thousand changes are not a thousand writes
    assert "█" in frames[-2]
    assert frames[-1] == "\x1b[K"


def test_a_short_apply_draws_no_bar_nor_does_one_without_a_terminal() -> None:
    stream = Terminal()
    draw = progress.bar(stream, View())
    assert draw is not None
    for done in range(1, progress.SHORT + 1):
        draw(done, progress.SHORT)
    assert stream.getvalue() == ""
    assert progress.bar(io.StringIO(), View()) is None


@pytest.mark.parametrize(
    ("environ", "colour", "terminal", "shown"),
    [
        ({}, True, True, True),
        ({}, True, False, False),
        ({"NO_COLOR": "1"}, True, True, False),
        ({"NO_COLOR": ""}, True, True, True),
        ({"TERM": "dumb"}, True, True, False),
        ({}, False, True, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    environ: dict[str, str], colour: bool, terminal: bool, shown: bool
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    assert view_of(stream, environ, colour=colour).colour is shown


def test_an_empty_plan_of_a_project_without_a_manifest_is_one_line() -> None:
    assert text.plan(Content("shop", Plan()), View()) == "shop: nothing to do\n"


def test_every_golden_file_has_its_case() -> None:
    source = Path(__file__).read_text()
    for path in GOLDEN.iterdir():
        stem = path.name.removeprefix("status-").partition(".")[0]
        assert stem in CASES or f'golden("{path.name}"' in source, path.name


def test_the_guard_alone_is_nothing_of_a_project() -> None:
    guard = NftTable("inet", GUARD_TABLE, 'table inet netapply {\n\tcomment "netapply:"\n}')
    assert status.tree("shop", state([guard]), None, View()).startswith("shop: nothing there\n")
