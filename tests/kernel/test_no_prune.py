"""What --no-prune keeps goes on: who served and stays, though no manifest names it, has the connections that it had."""

from __future__ import annotations

from contextlib import ExitStack

from tests.machine import Machine

from .balanced import servers
from .test_published_clients import ARRIVES_WITHIN, BACKENDS, Ends, connected, ends, families, is_alive, shop

CLIENT = '  client: {networks: {front: {ipv4_address: 10.20.0.9, ipv6_address: "fd00:20::9"}}}\n'
VIP = {4: "10.20.0.200", 6: "fd00:20::200"}

SHOP = shop(more='vip: [10.20.0.200, "fd00:20::200"], ').replace("containers:\n", f"containers:\n{CLIENT}", 1)


def without(*names: str) -> str:
    """Return the manifest without some containers."""
    return "".join(line for line in SHOP.splitlines(True) if not line.startswith(tuple(f"  {one}:" for one in names)))


def kept(host: Machine, text: str) -> str:
    """Apply a manifest that keeps what it does not name, and once more to no effect; return what the first run said."""
    said = host.netapply("-", "--no-prune", stdin=text).stdout
    assert "nothing to do" in host.netapply("-", "--no-prune", stdin=text).stdout
    return said


def alive(found: dict[str, Ends]) -> dict[str, bool]:
    return {name: is_alive(*one) for name, one in found.items()}


@families
def test_a_container_of_a_service_that_stays_keeps_its_connections_and_gets_no_new_ones(
    host: Machine, bridge_nf: bool, family: int
) -> None:
    """By the service's port from outside, by its virtual IP from a container and from the host."""
    outside = host.outside()
    port, vip = outside.host_address(family), VIP[family]
    host.netapply("-", stdin=SHOP)
    with ExitStack() as stack:
        by_port = connected(stack, host, port)
        ways = [by_port, *(connected(stack, host, vip, client, port=80) for client in ("client", ""))]
        assert [sorted(found) for found in ways] == [sorted(BACKENDS)] * 3
        for fewer in (without("api-3"), without("api-2", "api-3"), without("api-3")):
            kept(host, fewer)
            assert [alive(found) for found in ways] == [dict.fromkeys(BACKENDS, True)] * 3
        with servers(host, BACKENDS, 80, ipv6=family == 6) as api:
            for client, address, number in (("outside", port, 8081), ("client", vip, 80), ("", vip, 80)):
                assert api.spread(client, address, number, 4) == {"api-1": 2, "api-2": 2}
        host.netapply("-", stdin=without("api-3"))
        assert ends(by_port["api-3"][0]), "it is gone"
        assert alive(by_port | {"api-3": by_port["api-1"]}) == dict.fromkeys(BACKENDS, True)
    assert "leaving" not in host.run("nft -s list ruleset").stdout


@families
def test_a_service_goes_on_though_none_of_those_who_served_is_named_any_more(host: Machine, family: int) -> None:
    outside = host.outside()
    host.netapply("-", stdin=without("api-2", "api-3"))
    with ExitStack() as stack:
        found = connected(stack, host, outside.host_address(family), places=["api-1"])
        kept(host, without("api-1"))
        assert alive(found) == {"api-1": True}
        with servers(host, BACKENDS[1:], 80, ipv6=family == 6) as api:
            assert api.spread("outside", outside.host_address(family), 8081, 4) == {"api-2": 2, "api-3": 2}


def test_a_port_follows_its_container_to_another_network(host: Machine) -> None:
    outside = host.outside()
    text = SHOP.partition("services:")[0].replace("api-1: {", "api-1: {ports: ['8080:80'], ")
    host.netapply("-", stdin=text)

    def reached() -> str | None:
        return host.tcp("outside", "api-1", outside.host_ipv4, 8080, target=80, within=ARRIVES_WITHIN)

    assert reached() == outside.ipv4
    moved = text.replace(
        '{front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}', "{back: {ipv4_address: 10.21.0.11}}"
    )
    assert "10.21.0.11:80" in kept(host, moved)
    assert reached() == outside.ipv4
