"""Docker's containers, by the real dockerd: attached, restarted, detached, in a namespace of several."""

from __future__ import annotations

from .docker import DOCKER, SOCKET, Docker
from .lab import IMAGE, NETAPPLY, Lab

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web: {sandbox: {docker: shop-web}, networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}
  db: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
"""

ADDRESSES = {"10.20.0.11": "10.20.0.10", "fd00:20::11": "fd00:20::10"}
"""Those of db, and of web."""


def test_a_container_without_a_network_is_attached(docker: Docker) -> None:
    lab, pid = docker.lab, docker.run("shop-web")
    assert "endpoint web: net0 10.20.0.10/24" in lab.netapply(lab.manifest(SHOP))
    for db, web in ADDRESSES.items():
        assert lab.ping(pid, db)
        assert lab.ping("db", web)
        assert lab.tcp(pid, "db", db) == web
        assert lab.tcp("db", pid, web) == db
    assert "nothing to do" in lab.netapply(lab.manifest(SHOP))
    assert "web: docker:shop-web (adopted)" in lab.netapply("status", lab.manifest(SHOP))
    assert lab.links(pid) == ["net0"]


def test_a_container_is_known_by_the_start_of_its_id_too(docker: Docker) -> None:
    lab, pid = docker.lab, docker.run("shop-web")
    short = docker("inspect", "--format", "{{.Id}}", "shop-web").stdout[:12]
    lab.netapply(lab.manifest(SHOP.replace("shop-web", short)))
    assert lab.ping(pid, "10.20.0.11")


def test_a_restarted_container_is_attached_anew_with_the_same_addresses(docker: Docker) -> None:
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    before = docker.run("shop-web")
    lab.netapply(manifest)
    docker("restart", "-t", "0", "shop-web")
    pid = docker.pid("shop-web")
    assert pid != before
    assert lab.links(pid) == []
    said = lab.netapply(manifest)
    assert "+ endpoint web: net0 10.20.0.10/24" in said
    assert "endpoint db" not in said
    assert lab.ping(pid, "10.20.0.11")
    assert "nothing to do" in lab.netapply(manifest)


def test_a_container_that_stops_is_pending_and_one_that_starts_is_attached(docker: Docker) -> None:
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    assert "pending: container web: Docker has no container shop-web" in lab.netapply(manifest)
    pid = docker.run("shop-web")
    lab.netapply(manifest)
    assert lab.ping(pid, "10.20.0.11")
    docker("stop", "-t", "0", "shop-web")
    said = lab.netapply(manifest)
    assert "pending: container web: Docker's container shop-web does not run (exited)" in said
    assert "nothing to do" in said, "its endpoint went with its namespace, and that of db is nobody's business"
    assert "container web: Docker's container shop-web" in lab.netapply("plan", "--strict", manifest, code=69)
    docker("start", "shop-web")
    lab.netapply(manifest)
    assert lab.ping("db", "10.20.0.10")


def test_a_paused_container_is_attached(docker: Docker) -> None:
    docker.run("shop-web")
    docker("pause", "shop-web")
    said = docker.lab.netapply(docker.lab.manifest(SHOP))
    docker("unpause", "shop-web")
    assert "pending" not in said
    assert docker.lab.ping("db", "10.20.0.10")


def test_a_container_that_leaves_the_manifest_loses_what_is_ours_and_nothing_else(docker: Docker) -> None:
    lab, pid = docker.lab, docker.run("shop-web")
    lab.netapply(lab.manifest(SHOP))
    without = "\n".join(line for line in SHOP.splitlines() if "web:" not in line)
    foreign = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", "link"]
    lab.run([*foreign, "add", "mine", "type", "veth", "peer", "name", "mine-too"])
    said = lab.netapply(lab.manifest(without))
    assert "- endpoint web: net0" in said
    assert "container" not in said
    assert sorted(lab.links(pid)) == ["mine", "mine-too"]
    assert lab.run(["test", "-d", f"/proc/{pid}"]).returncode == 0
    assert "nothing to do" in lab.netapply(lab.manifest(without))


def test_destroying_a_project_leaves_the_container_as_it_was(docker: Docker) -> None:
    lab, pid = docker.lab, docker.run("shop-web")
    before = docker("inspect", "shop-web").stdout
    lab.netapply(lab.manifest(SHOP))
    lab.netapply("destroy", lab.manifest(SHOP))
    assert lab.links(pid) == []
    assert docker("inspect", "shop-web").stdout == before
    assert lab.run("ls /run/netns").stdout == ""


def test_containers_that_share_a_namespace_are_attached_once(docker: Docker) -> None:
    """As with `network_mode: "container:..."`, `service:...` of Compose and the containers of a pod."""
    lab, pid = docker.lab, docker.run("shop-web")
    sidecar = docker.run("shop-log", "--network", "container:shop-web")
    both = SHOP + "  log: {sandbox: {docker: shop-log}}\n"
    lab.netapply(lab.manifest(both))
    assert lab.links(sidecar) == lab.links(pid) == ["net0"]
    assert "nothing to do" in lab.netapply(lab.manifest(both))
    conflict = lab.netapply(
        "plan", lab.manifest(SHOP + "  log: {sandbox: {docker: shop-log}, networks: [front]}\n"), code=65
    )
    assert "lab.yaml:8:" in conflict
    assert "containers web and log are in one network namespace, and both are on network front" in conflict
    other = SHOP.replace("networks:\n", "networks:\n  back: {ipam: {config: [{subnet: 10.20.1.0/24}]}}\n")
    other += "  log: {sandbox: {docker: shop-log}, networks: {back: {gw_priority: 1}}}\n"
    assert "endpoint log: net1 10.20.1" in lab.netapply(lab.manifest(other))
    assert sorted(lab.links(pid)) == ["net0", "net1"]
    routes = lab.json(f"nsenter --net=/proc/{pid}/ns/net -- ip -j route show default")
    assert [route["gateway"] for route in routes] == ["10.20.1.1"]
    assert "nothing to do" in lab.netapply(lab.manifest(other))


def test_a_namespace_that_another_container_keeps_keeps_its_endpoints(docker: Docker) -> None:
    lab = docker.lab
    docker.run("shop-web")
    sidecar = docker.run("shop-log", "--network", "container:shop-web")
    lab.netapply(lab.manifest(SHOP))
    docker("stop", "-t", "0", "shop-web")
    said = lab.netapply(lab.manifest(SHOP))
    assert "nothing to do" in said
    assert "container web is taken to be where its endpoints are: Docker's container shop-web does not run" in said
    assert lab.ping(sidecar, "10.20.0.11")
    lab.run(["nsenter", f"--net=/proc/{sidecar}/ns/net", "--", "ip", "link", "delete", "net0"])
    docker("start", "shop-web")
    pid = docker.pid("shop-web")
    lab.netapply(lab.manifest(SHOP))
    assert (lab.links(sidecar), lab.links(pid)) == ([], ["net0"])


def test_a_container_in_the_hosts_namespace_is_one_of_a_host_network(docker: Docker) -> None:
    lab = docker.lab
    docker.run("shop-web", "--network", "host")
    said = lab.netapply("plan", lab.manifest(SHOP), code=65)
    assert "container web is in the host's own network namespace" in said
    agent = "project: shop\nnetworks: {direct: {driver: host}}\n"
    agent += "containers: {web: {sandbox: {docker: shop-web}, networks: [direct]}}\n"
    lab.netapply(lab.manifest(agent))


def test_many_containers_are_found_by_one_list(docker: Docker) -> None:
    lab, names = docker.lab, [f"shop-{number}" for number in range(10)]
    for name in names[:9]:
        docker("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    text = "project: shop\nnetworks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}\ncontainers:\n"
    text += "".join(f"  {name}: {{sandbox: {{docker: {name}}}, networks: [front]}}\n" for name in names)
    said = lab.netapply(lab.manifest(text))
    assert said.count("+ endpoint") == 9
    assert "pending: container shop-9: Docker has no container shop-9" in said
    assert "nothing to do" in lab.netapply(lab.manifest(text))


def test_without_docker_its_containers_are_pending_and_the_rest_converges(lab: Lab) -> None:
    nowhere = SHOP.replace("docker: shop-web", "docker: shop-web, socket: /run/nowhere.sock")
    said = lab.netapply(lab.manifest(nowhere))
    assert "pending: container web: Docker (/run/nowhere.sock) is not there" in said
    assert lab.links("db") == ["eth0"]
    assert "/run/nowhere.sock" in lab.netapply("--strict", lab.manifest(nowhere), code=69)
    lab.netapply("destroy", lab.manifest(nowhere))


def test_a_socket_is_taken_from_the_environment(docker: Docker) -> None:
    lab = docker.lab
    docker.run("shop-web")
    lab.run(["ln", "-s", SOCKET, "/run/elsewhere.sock"])
    for value, words in {
        "unix:///run/elsewhere.sock": "endpoint web",
        "tcp://192.0.2.1:2375": "netapply asks engines of its own host alone",
        "unix:///run/nobody": "is not there",
    }.items():
        lab.environ["DOCKER_HOST"] = value
        try:
            assert words in lab.netapply("plan", lab.manifest(SHOP))
        finally:
            lab.environ.clear()


def test_a_container_that_restarts_all_the_time_harms_nobody(docker: Docker) -> None:
    """Whatever moment netapply meets it at: it is attached, pending, or the run fails and all is as before."""
    lab, manifest = docker.lab, docker.lab.manifest(SHOP)
    docker.run("shop-web")
    lab.netapply(manifest)
    lab.start(
        ["sh", "-c", f"for i in 1 2 3 4 5; do {DOCKER} -H unix://{SOCKET} restart -t 0 shop-web; done"], "restarts.log"
    )
    codes = set()
    restarts = lab.processes[-1]
    while restarts.poll() is None:
        done = lab.run([*NETAPPLY, str(manifest)], check=False)
        assert "Traceback" not in done.stderr, done.stderr
        codes.add(done.returncode)
        assert lab.ping("db", "10.20.0.1")
    lab.processes.remove(restarts)
    assert codes <= {0, 1}
    lab.netapply(manifest)
    assert lab.ping("db", "10.20.0.10")
    assert "nothing to do" in lab.netapply(manifest)
