"""Settings of a container's interface: somebody's change is mended, and what was there comes back."""

from __future__ import annotations

from tests.machine import Machine

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}}
containers: {web: {networks: {front: {SETTINGS}}}}
"""
RP_FILTER = "net.ipv4.conf.IFNAME.rp_filter: 2"
ACCEPT_RA = "net.ipv6.conf.IFNAME.accept_ra: 0"
STALE = "net.ipv4.neigh.IFNAME.gc_stale_time: 90"
ALL = (RP_FILTER, ACCEPT_RA, STALE)


def shop(*settings: str) -> str:
    return SHOP.replace("{SETTINGS}", f"{{sysctls: {{{', '.join(settings)}}}}}" if settings else "{}")


def values(host: Machine) -> list[str]:
    names = (one.partition(":")[0].replace("IFNAME", "eth0") for one in ALL)
    return [host.sysctl(name, netns="web") for name in names]


def test_a_setting_that_somebody_changed_is_drift_and_mended(host: Machine) -> None:
    host.netapply("-", stdin=shop(*ALL))
    assert values(host) == ["2", "0", "90"]
    assert "nothing to do" in host.netapply("-", stdin=shop(*ALL)).stdout
    host.sysctl("net.ipv4.conf.eth0.rp_filter", "0", netns="web")
    host.sysctl("net.ipv4.neigh.eth0.gc_stale_time", "10", netns="web")
    said = host.netapply("plan", "-", "--detailed-exitcode", stdin=shop(*ALL), code=2).stdout
    assert "net.ipv4.conf.rp_filter 0 → 2" in said
    assert "net.ipv4.neigh.gc_stale_time 10 → 90" in said
    assert "accept_ra" not in said
    assert values(host) == ["0", "0", "10"], "a plan changes nothing"
    host.netapply("-", stdin=shop(*ALL))
    assert values(host) == ["2", "0", "90"]
    assert "nothing to do" in host.netapply("-", stdin=shop(*ALL)).stdout


def test_a_setting_that_is_asked_for_no_more_is_what_it_was_before(host: Machine) -> None:
    host.netapply("-", stdin=shop())
    before, index = values(host), host.json("ip -j link show eth0", netns="web")[0]["ifindex"]
    assert before[:2] != ["2", "0"]
    host.netapply("-", stdin=shop(*ALL))
    host.netapply("-", stdin=shop(ACCEPT_RA))
    assert values(host) == [before[0], "0", before[2]]
    said = host.netapply("-", stdin=shop()).stdout
    assert "net.ipv6.conf.accept_ra 0 → none" in said
    assert values(host) == before
    assert host.json("ip -j link show eth0", netns="web")[0]["ifindex"] == index, "all of it on the same link"
    assert "nothing to do" in host.netapply("-", stdin=shop()).stdout
