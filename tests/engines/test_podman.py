"""Podman's containers and pods, by its real service: attached, restarted, detached, beside Podman's own networks."""

from __future__ import annotations

import re
from pathlib import Path

from .lab import ROOT
from .podman import SOCKET, Podman

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web: {sandbox: {podman: shop-web}, networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}
  db: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
"""
BESIDE = SHOP.replace("front: {ipam", "front: {no_default_route: true, ipam")


def test_a_container_without_a_network_is_attached(podman: Podman) -> None:
    lab, pid = podman.lab, podman.run("shop-web")
    lab.netapply(lab.manifest(SHOP))
    for db, web in {"10.20.0.11": "10.20.0.10", "fd00:20::11": "fd00:20::10"}.items():
        assert lab.ping(pid, db)
        assert lab.tcp("db", pid, web) == db
    assert "nothing to do" in lab.netapply(lab.manifest(SHOP))
    assert "web: podman:shop-web (adopted)" in lab.netapply("status", lab.manifest(SHOP))
    assert lab.links(pid) == ["net0"]


def test_a_container_is_stopped_restarted_and_detached(podman: Podman) -> None:
    lab, manifest = podman.lab, podman.lab.manifest(SHOP)
    assert "Podman has no container shop-web" in lab.netapply(manifest)
    podman.run("shop-web")
    lab.netapply(manifest)
    podman("stop", "-t", "0", "shop-web")
    said = lab.netapply(manifest)
    assert "pending: container web: Podman's container shop-web does not run (exited)" in said
    assert "nothing to do" in said
    podman("start", "shop-web")
    lab.netapply(manifest)
    assert lab.ping("db", "10.20.0.10")
    podman("restart", "-t", "0", "shop-web")
    assert lab.links(podman.pid("shop-web")) == []
    lab.netapply(manifest)
    assert lab.ping("db", "10.20.0.10")
    lab.netapply("destroy", manifest)
    assert lab.links(podman.pid("shop-web")) == []


def test_podmans_own_networks_go_on_beside_ours(podman: Podman) -> None:
    lab, manifest = podman.lab, podman.lab.manifest(BESIDE)
    podman("network", "create", "more")
    try:
        pid = podman.run("shop-web", "--network", "podman")
        lab.netapply(manifest)
        assert sorted(lab.links(pid)) == ["eth0", "net0"]
        podman("network", "connect", "more", "shop-web", check=False)  # the network podman takes no part in this
        assert lab.ping("db", "10.20.0.10")
        assert lab.ping(pid, "10.88.0.1")
        assert "nothing to do" in lab.netapply(manifest)
        lab.netapply("destroy", manifest)
        assert "net0" not in lab.links(pid)
    finally:
        podman.remove_all()
        podman("network", "rm", "more")


def test_a_container_is_connected_by_podman_afterwards(podman: Podman) -> None:
    lab, manifest = podman.lab, podman.lab.manifest(BESIDE)
    podman("network", "create", "one")
    podman("network", "create", "two")
    try:
        pid = podman.run("shop-web", "--network", "one")
        lab.netapply(manifest)
        podman("network", "connect", "two", "shop-web")
        assert sorted(lab.links(pid)) == ["eth0", "eth1", "net0"]
        assert "nothing to do" in lab.netapply(manifest)
    finally:
        podman.remove_all()
        podman("network", "rm", "one", "two")


def test_the_containers_of_a_pod_are_attached_once(podman: Podman) -> None:
    lab = podman.lab
    podman(
        "pod",
        "create",
        "--name",
        "shop",
        "--network",
        "none",
        "--infra-command",
        "/bin/sleep 100000",
        "--infra-image",
        "lab",
    )
    web = podman.run("shop-web", "--pod", "shop")
    log = podman.run("shop-log", "--pod", "shop")
    both = SHOP + "  log: {sandbox: {podman: shop-log}}\n"
    lab.netapply(lab.manifest(both))
    assert lab.links(web) == lab.links(log) == ["net0"]
    podman("stop", "-t", "0", "shop-web")
    said = lab.netapply(lab.manifest(both))
    assert "container web is taken to be where its endpoints are" in said
    assert "nothing to do" in said
    assert lab.ping(log, "10.20.0.11"), "the rest of the pod keeps its network"


def test_without_the_service_a_container_that_is_attached_stays_so(podman: Podman) -> None:
    """Podman's containers run without a daemon: the service that knows them may be down."""
    lab, pid = podman.lab, podman.run("shop-web")
    lab.netapply(lab.manifest(SHOP))
    podman.stop_service()
    try:
        said = lab.netapply(lab.manifest(SHOP))
        assert "nothing to do" in said
        assert f"container web is taken to be where its endpoints are: Podman ({SOCKET}) is not there" in said
        lab.run(["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", "addr", "flush", "dev", "net0"])
        assert "address 10.20.0.10/24" in lab.netapply(lab.manifest(SHOP))
        assert lab.ping("db", "10.20.0.10")
        assert SOCKET in lab.netapply("--strict", lab.manifest(SHOP), code=69)
    finally:
        podman.start_service()


def test_a_network_that_is_changed_under_containers_that_cannot_be_asked_for_is_made_anew(podman: Podman) -> None:
    lab, pid = podman.lab, podman.run("shop-web")
    lab.netapply(lab.manifest(SHOP))
    podman.stop_service()
    try:
        lab.netapply(lab.manifest(SHOP.replace("front: {ipam", "front: {mtu: 1300, ipam")))
        assert lab.ping(pid, "10.20.0.11")
        assert "- endpoint web" in lab.netapply("destroy", lab.manifest(SHOP))
        assert lab.links(pid) == []
    finally:
        podman.start_service()


def found_by_name(podman: Podman, container: str, name: str) -> list[str]:
    """Return the addresses that a container finds for a name."""
    said = podman("exec", container, "nslookup", name, check=False).stdout
    return re.findall(rf"Name:\t{name}\nAddress: (\S+)", said)


def test_a_resolv_conf_that_somebody_has_made_in_a_container_stays(podman: Podman) -> None:
    lab = podman.lab
    podman.run("shop-web")
    podman("exec", "shop-web", "sh", "-c", "echo nameserver 192.0.2.53 > /etc/resolv.conf")
    manifest = lab.manifest(SHOP.replace("project: shop", "project: shop\ndns: true"))
    assert "no names are found from web: the /etc/resolv.conf there is none that" in lab.netapply(manifest)
    assert lab.run("ls /etc/netns").stdout == "db\n"
    assert not Path("/etc/netns/db").exists(), "/etc/netns is the lab's own, and not the machine's"
    assert "nothing to do" in lab.netapply(manifest)
    lab.netapply("destroy", manifest)
    assert podman("exec", "shop-web", "cat", "/etc/resolv.conf").stdout == "nameserver 192.0.2.53\n"


def test_the_voting_app_of_the_examples_runs_on_podmans_containers(podman: Podman) -> None:
    lab, example = podman.lab, ROOT / "manifests/podman.yaml"
    votes = [f"voting-vote-{number}" for number in (1, 2, 3)]
    pids = {
        name: podman.run(name) for name in (*votes, *(f"voting-{one}" for one in ("result", "worker", "redis", "db")))
    }
    try:
        lab.netapply(example)
        db = lab.json(f"nsenter --net=/proc/{pids['voting-db']}/ns/net -- ip -j addr show net0")[0]["addr_info"][0]
        assert lab.tcp(pids["voting-vote-1"], pids["voting-db"], db["local"], 5432)
        for name in votes:
            podman("exec", "-d", name, "httpd", "-p", "80", "-h", "/etc")
        addresses = {name: found_by_name(podman, "voting-result", name) for name in ("vote", "vote-2", "db")}
        assert all(addresses.values()), "each is found by its name"
        for place in ("vote", *addresses["vote"]):  # by name and by virtual IP
            get = ("exec", "voting-result", "wget", "-q", "-O", "-", f"http://{place}/hostname")
            assert len({podman(*get).stdout for _ in range(6)}) == 3, f"{place} leads to each of the three in turn"
        page = "/bin/busybox wget -q -O - http://127.0.0.1:8080/hostname"
        assert len({lab.run(page).stdout for _ in range(6)}) == 3, (
            "the published port leads to each of the three in turn"
        )
        podman("restart", "-t", "0", "voting-result")
        pids["voting-result"] = podman.pid("voting-result")
        lab.netapply(example)
        assert found_by_name(podman, "voting-result", "vote") == addresses["vote"]
        assert "nothing to do" in lab.netapply(example)
    finally:
        lab.netapply("destroy", example)
    assert [lab.links(pid) for pid in pids.values()] == [[]] * 7
    for name in pids:
        assert podman("exec", name, "cat", "/etc/resolv.conf", check=False).returncode, f"{name} keeps no file"
