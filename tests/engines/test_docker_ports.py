"""Published ports of Docker's containers that Docker itself can't publish, and Docker's own in the way."""

from __future__ import annotations

from tests.kernel import test_ports as ports
from tests.machine import Machine

from . import firewalls
from .docker import Docker
from .firewalls import OUTSIDE
from .lab import Lab

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web:
    sandbox: {docker: shop-web}
    networks: {front: {ipv4_address: 10.20.0.10}}
    ports: ["8080:80", "8080:80/udp"]
  db: {networks: {front: {ipv4_address: 10.20.0.11}}}
"""


def reached(lab: Lab, client: str, server: int, address: str) -> str | None:
    """Return the source that the container sees of who connects to its port by an address of the host."""
    return ports.both(Machine(), client, lab.netns(server), address)


def test_a_container_without_a_network_is_published_and_stays_so_after_a_restart(docker: Docker) -> None:
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    host = f"/proc/{lab.pid}/ns/net"
    lab.run("ip address replace 192.0.2.1/32 dev lo")
    pid = docker.run("shop-web")
    lab.netapply(manifest)
    assert reached(lab, host, pid, "127.0.0.1") == "10.20.0.1"
    assert reached(lab, lab.netns("db"), pid, "192.0.2.1") == "10.20.0.1"
    docker("restart", "-t", "0", "shop-web")
    lab.netapply(manifest)
    assert reached(lab, host, docker.pid("shop-web"), "127.0.0.1") == "10.20.0.1"
    assert "nothing to do" in lab.netapply(manifest)


def test_the_ports_of_a_container_that_stops_are_withdrawn_until_it_runs(docker: Docker) -> None:
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    docker.run("shop-web")
    lab.netapply(manifest)
    docker("stop", "-t", "0", "shop-web")
    assert "- port 8080/tcp of web" in lab.netapply(manifest)
    docker("start", "shop-web")
    assert "+ port 8080/tcp of web" in lab.netapply(manifest)


def test_a_port_that_docker_publishes_is_refused_with_the_name_of_its_proxy(docker: Docker) -> None:
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    docker.run("shop-web")
    docker.run("other", "-p", "8080:80")
    said = lab.netapply(manifest, code=3)
    assert "port 8080/tcp of the host, which web is to be published on, is taken: docker-proxy (process " in said
    docker("rm", "-f", "other")
    lab.netapply(manifest)
    docker("run", "-d", "--name", "late", "-p", "8081:80", "lab", "sleep", "100000")
    assert "nothing to do" in lab.netapply(manifest)


def test_ours_is_back_after_a_flush_that_took_dockers_too_and_dockers_is_left_to_docker(docker: Docker) -> None:
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    firewalls.outside(lab)
    web = docker.run("shop-web")
    theirs = docker.run("theirs", "-p", "8081:80")
    lab.netapply(manifest)

    def seen(pid: int, port: int) -> str:
        return lab.http(pid, f"{OUTSIDE.host_ipv4}:{port}", "ip", "netns", "exec", "outside", "/bin/busybox")

    assert [seen(web, 8080), seen(theirs, 8081)] == [OUTSIDE.ipv4] * 2
    ours, dockers = firewalls.ours(lab), lab.run("iptables-save").stdout
    lab.run("nft flush ruleset")
    try:
        assert lab.tcp("outside", web, OUTSIDE.host_ipv4, 8080, target=80) is None
        lab.netapply("plan", "--detailed-exitcode", manifest, code=2)
        assert "firewall inet netapply-shop" in lab.netapply(manifest)
        assert firewalls.ours(lab) == ours
        assert "DOCKER" not in lab.run("iptables-save").stdout, "it is Docker's to make"
        assert seen(web, 8080) == OUTSIDE.ipv4
        assert "nothing to do" in lab.netapply(manifest)
    finally:
        lab.run("iptables-restore", stdin=dockers.encode())  # what Docker does when it starts
    assert [seen(web, 8080), seen(theirs, 8081)] == [OUTSIDE.ipv4] * 2
    assert "nothing to do" in lab.netapply(manifest)
