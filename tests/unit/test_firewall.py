"""The firewall's text: zones in, tables out.

The expected tables are golden files, which a kernel test loads too. `RENEW_GOLDEN=1 pytest
tests/unit/test_firewall.py` writes them anew, as `make golden` does; read the diff.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import HostLacks
from reconciler.firewall import Seal, Zone, guard_of, guard_table, owner_of, table, table_name
from reconciler.host import Facts, HostLink
from reconciler.lowering.lower import lower
from reconciler.networks import Network, Subnet, Topology
from reconciler.resources import GUARD_TABLE, Key, NftTable
from tests.golden import compare

GOLDEN = Path(__file__).parent / "golden" / "firewall"

FRONT = Zone("front", "shop-front", ("10.20.0.0/24", "fd00:20::/64"))
BACK = Zone("back", "shop-back", ("10.21.0.0/24", "fd00:21::/64"))

CASES: dict[str, tuple[str, list[Zone]]] = {
    "one-network": ("shop", [FRONT]),
    "two-networks": ("shop", [FRONT, BACK]),
    "allow-one-way": (
        "shop",
        [Zone("front", "shop-front", ("10.20.0.0/24",), allow=("back",)), Zone("back", "shop-back", ("10.21.0.0/24",))],
    ),
    "allow-both-ways": (
        "shop",
        [
            Zone("front", "shop-front", ("10.20.0.0/24",), allow=("back", "front", "elsewhere")),
            Zone("back", "shop-back", ("10.21.0.0/24",), allow=("front",)),
        ],
    ),
    "internal": ("shop", [FRONT, Zone("db", "shop-db", ("10.22.0.0/24", "fd00:22::/64"), internal=True)]),
    "trusted": (
        "shop",
        [
            Zone("front", "shop-front", ("10.20.0.0/24", "fd00:20::/64"), mode_ipv6="routed", trusted=("wg0", "eth1")),
            Zone("db", "shop-db", ("10.22.0.0/24",), internal=True, trusted=("wg0",)),
        ],
    ),
    "no-icc-with-uplink": (
        "shop",
        [
            Zone("front", "shop-front", ("10.20.0.0/24",), icc=False, gateway_mac="02:00:00:00:00:01"),
            Zone("back", "shop-back", ("10.21.0.0/24",), gateway_mac="02:00:00:00:00:02"),
        ],
    ),
    "across": (
        "shop",
        [
            Zone("front", "shop-front", ("10.20.1.0/24",), across=("vx1",), allow=("back",), direct=("10.20.2.0/24",)),
            Zone("back", "shop-back", ("10.21.0.0/24",)),
            Zone("db", "shop-db", ("10.22.1.0/24", "fd00:22::/96"), internal=True, across=("vx2",)),
            Zone("lone", "shop-lone", ("10.23.1.0/24",), icc=False, across=("vx3",)),
        ],
    ),
    "no-icc": ("shop", [Zone("front", "shop-front", ("10.20.0.0/24", "fd00:20::/64"), icc=False)]),
    "modes": (
        "lab",
        [
            Zone("a", "lab-a", ("10.1.0.0/24", "fd00:1::/64"), mode_ipv4="routed", mode_ipv6="nat"),
            Zone("b", "lab-b", ("10.2.0.0/24", "fd00:2::/64"), mode_ipv4="nat", mode_ipv6="routed"),
            Zone("c", "lab-c", ("10.3.0.0/24", "fd00:3::/64"), mode_ipv4="isolated", mode_ipv6="isolated"),
        ],
    ),
    "ipv6-only": ("six", [Zone("net", "six-net", ("fd00:6::/64",))]),
    "several-subnets": ("shop", [Zone("front", "shop-front", ("10.20.0.0/24", "10.30.0.0/31", "10.9.0.0/16"))]),
    "translation": (
        "shop",
        [
            FRONT,
            Zone("plain", "shop-plain", ("10.23.0.0/24",), masquerade=False, snat_ipv4="192.0.2.9"),
            Zone(
                "fixed", "shop-fixed", ("10.24.0.0/24", "fd00:24::/64"), snat_ipv4="192.0.2.1", snat_ipv6="2001:db8::1"
            ),
        ],
    ),
    "encrypted": (
        "shop",
        [
            replace(FRONT, seal=Seal("wg0", 4789, 4096, FRONT.subnets)),
            replace(BACK, across=("vx1",), seal=Seal("wg0", 4790, 77, ("10.21.0.0/24", "10.21.1.0/24"))),
        ],
    ),
    "odd-names": ("a.b_c-d", [Zone("n", "br@x.y-z", ("10.1.0.0/24",)), Zone("m", "{a};$b\\", ("10.2.0.0/24",))]),
    "long-names": ("p" * 63, [Zone("n" * 63, "i" * 15, ("10.1.0.0/24",))]),
}

GUARDS: dict[str, dict[int, tuple[str, ...]]] = {
    "guard": {4: ("eth0", "eth1"), 6: ("eth0", "eth1")},
    "guard-ipv6": {6: ("eth0", "wlan0")},
}


def _text(found: NftTable | None) -> str:
    assert found is not None
    return found.text


@pytest.mark.parametrize("name", CASES)
def test_a_projects_table_is_as_in_the_golden_file(name: str) -> None:
    compare(GOLDEN, f"{name}.nft", _text(table(*CASES[name])))


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_is_as_in_the_golden_file(name: str) -> None:
    compare(GOLDEN, f"{name}.nft", _text(guard_table(GUARDS[name])))


def test_every_golden_file_has_its_case() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {*CASES, *GUARDS}


def test_without_zones_there_is_no_table() -> None:
    assert table("shop", []) is None


@pytest.mark.parametrize("guard", [{}, {4: ()}, {4: (), 6: ()}])
def test_without_links_to_guard_there_is_no_guard(guard: dict[int, tuple[str, ...]]) -> None:
    assert guard_table(guard) is None


def test_the_order_of_networks_subnets_and_permissions_does_not_matter() -> None:
    zones = [zone for _, some in CASES.values() for zone in some if zone.interface.startswith("shop")]
    zones = list({zone.network: zone for zone in zones}.values())
    shuffled = [
        Zone(zone.network, zone.interface, zone.subnets[::-1], internal=zone.internal, allow=zone.allow[::-1])
        for zone in random.Random(7).sample(zones, len(zones))
    ]
    straight = [
        Zone(zone.network, zone.interface, zone.subnets, internal=zone.internal, allow=zone.allow) for zone in zones
    ]
    assert table("shop", shuffled) == table("shop", straight)


def test_the_number_of_rules_does_not_grow_with_networks() -> None:
    def rules(count: int) -> str:
        zones = [
            Zone(f"n{i}", f"br{i}", (f"10.{i // 256}.{i % 256}.0/24", f"fd00:{i:x}::/64"), allow=(f"n{i + 1}",))
            for i in range(count)
        ]
        return _text(table("shop", zones)).partition("\tchain ")[2]

    assert rules(2) == rules(500)


@pytest.mark.parametrize("name", CASES)
def test_the_owner_of_a_table_is_read_from_its_comment(name: str) -> None:
    project, zones = CASES[name]
    assert owner_of(_text(table(project, zones))) == project


def test_the_guard_belongs_to_no_project() -> None:
    assert owner_of(_text(guard_table(GUARDS["guard"]))) == ""


@pytest.mark.parametrize(
    "text",
    [
        "table inet netapply-shop {\n}\n",
        'table inet netapply-shop {\n\tcomment "made by hand"\n}\n',
        'table inet netapply-shop {\n\tcomment "not netapply:shop"\n}\n',
        'table inet netapply-shop {\n\tchain c {\n\t\tcomment "netapply:shop"\n\t}\n}\n',
    ],
    ids=["no-comment", "another-comment", "a-comment-that-ends-like-ours", "the-comment-of-a-chain"],
)
def test_a_table_without_the_mark_is_foreign(text: str) -> None:
    assert owner_of(text) is None


def test_a_dormant_table_is_still_ours() -> None:
    assert owner_of('table inet netapply-shop {\n\tflags dormant\n\tcomment "netapply:shop"\n}\n') == "shop"


names = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters='/:"*'), min_size=1, max_size=15
)


@given(st.dictionaries(st.sampled_from([4, 6]), st.frozensets(names, min_size=1).map(sorted).map(tuple)))
def test_the_guarded_links_are_read_back_from_the_guard(guard: dict[int, tuple[str, ...]]) -> None:
    if found := guard_table(guard):
        assert guard_of(found.text) == guard


def test_a_project_has_no_guard() -> None:
    assert guard_of(_text(table("shop", [FRONT]))) == {}


@pytest.mark.parametrize("name", ['a"b', "eth*"])
def test_a_link_that_nft_cannot_name_is_refused(name: str) -> None:
    with pytest.raises(HostLacks, match="rename it"):
        table("shop", [Zone("front", name, ("10.20.0.0/24",))])
    with pytest.raises(HostLacks, match="rename it"):
        guard_table({4: (name,)})


def test_a_table_is_named_after_its_project() -> None:
    assert table_name("shop.v2_x-y") == "netapply-shop.v2_x-y"


def test_projects_whose_names_nft_does_not_take_get_names_that_differ() -> None:
    assert table_name("caf\u00e9") != table_name("caf\u00e8")
    assert table_name("caf\u00e9").startswith("netapply-caf-")


def _lowered(facts: Facts, *subnets: str) -> dict[Key, object]:
    network = Network("shop", "front", "bridge", 1500, subnets=tuple(Subnet(subnet) for subnet in subnets))
    return dict(lower(Topology("shop", networks=(network,)), facts))


LINKS = {
    name: HostLink(name, "veth", 1500, True, owner)
    for name, owner in {"lo": None, "eth0": None, "eth1": None, "lab-a": "lab"}.items()
}
GUARD = Key("nft", f"inet {GUARD_TABLE}")


def _guarded(desired: dict[Key, object]) -> dict[int, tuple[str, ...]]:
    found = desired.get(GUARD)
    return guard_of(found.text) if isinstance(found, NftTable) else {}


def test_a_host_that_did_not_forward_is_guarded_between_the_links_of_others() -> None:
    desired = _lowered(Facts(links=LINKS), "10.20.0.0/24", "fd00:20::/64")
    assert _guarded(desired) == {4: ("eth0", "eth1"), 6: ("eth0", "eth1")}


def test_a_host_that_forwards_already_is_not_guarded() -> None:
    facts = Facts(links=LINKS, forwarding_ipv4=True, forwarding_ipv6=True)
    assert _guarded(_lowered(facts, "10.20.0.0/24", "fd00:20::/64")) == {}


def test_what_forwards_ipv4_already_is_guarded_for_ipv6_alone() -> None:
    facts = Facts(links=LINKS, forwarding_ipv4=True)
    assert _guarded(_lowered(facts, "10.20.0.0/24", "fd00:20::/64")) == {6: ("eth0", "eth1")}


def test_a_guard_stays_as_it_was_when_links_come_later() -> None:
    facts = Facts(links=LINKS, forwarding_ipv4=True, guard={4: ("eth0", "gone")})
    assert _guarded(_lowered(facts, "10.20.0.0/24")) == {4: ("eth0", "gone")}


def test_networks_that_need_no_forwarding_need_no_guard() -> None:
    network = Network("shop", "db", "bridge", 1500, subnets=(Subnet("10.20.0.0/24"),), internal=True)
    assert GUARD not in lower(Topology("shop", networks=(network,)), Facts(links=LINKS))
