"""Names on ipvlan networks: a resolver in each container's namespace."""

from __future__ import annotations

import pytest

from tests.dns import Answer, ask
from tests.kernel.test_dns import apply
from tests.machine import Machine

pytestmark = pytest.mark.needs_kernel("ipvlan")

OWN = "127.0.0.11"


@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_containers_on_an_ipvlan_network_find_each_other_by_name(host: Machine, mode: str) -> None:
    host.outside()
    apply(
        host,
        f"""
project: shop
dns: true
networks:
  lan:
    driver: ipvlan
    driver_opts: {{parent: uplink, mode: {mode}}}
    ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}
containers:
  web: {{networks: {{lan: {{ipv4_address: 10.20.0.65, ipv6_address: "fd00:20::65"}}}}}}
  db: {{networks: {{lan: {{ipv4_address: 10.20.0.66, ipv6_address: "fd00:20::66", aliases: [store]}}}}}}
""",
    )
    for tcp in (False, True):
        assert ask("web", OWN, "store", tcp=tcp).values == ("10.20.0.66",)
        assert ask("web", OWN, "db.lan", "AAAA", tcp=tcp).values == ("fd00:20::66",)
        assert ask("db", OWN, "nobody", tcp=tcp) == Answer("NXDOMAIN")
    found = host.run("ip netns exec web getent ahostsv4 store").stdout.split()
    assert found[0] == "10.20.0.66"
    assert host.pings([("web", found[0])]) == [True]
    host.netapply("destroy", "--project", "shop")
    assert host.run("ip netns list").stdout.split()[:1] == ["outside"]
