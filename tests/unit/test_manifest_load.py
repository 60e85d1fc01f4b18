"""Loading manifests: files, folders, variables, anchors, and what scalars mean."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.errors import ManifestError, Position
from reconciler.manifest import load
from reconciler.manifest.model import AddressPool, EndpointSpec, IpamConfig, Manifest
from reconciler.manifest.source import MAX_BYTES, Source
from reconciler.manifest.tree import parse
from reconciler.networks import SandboxRef, StaticRoute

EVERYTHING = """\
# yaml-language-server: $schema=../schemas/manifest.schema.json
version: 1
project: shop
x-common: &common
  labels: {tier: web}
default_address_pools: [{base: 10.128.0.0/9, size: 24}]
networks:
  front:
    driver: bridge
    driver_opts: {name: br-front, icc: off}
    ipam:
      config:
        - {subnet: 10.20.0.0/24, gateway: 10.20.0.1, ip_range: 10.20.0.128/25, aux_addresses: {printer: 10.20.0.9}}
        - {subnet: "FD00:20:0::/64"}
    mtu: 1400
    allow: [back]
    routes: [{destination: 10.9.0.0/16, via: 10.20.0.7}, {destination: 10.8.0.0/16, type: blackhole, metric: 5}]
    no_default_route: yes
    metric: 50
    protect: true
    labels: [a=1, b]
  back:
  hosts: {driver: host}
containers:
  web:
    <<: *common
    sandbox: {netns: shop-web, create: false}
    networks:
      front:
        ipv4_address: [10.20.0.11, 10.20.0.10]
        ipv6_address: fd00:20::0a
        mac_address: 0242.AC11.0002
        interface_name: eth7
        gw_priority: 100
        sysctls: {net.ipv4.conf.IFNAME.rp_filter: "01", net.ipv6.neigh.IFNAME.base_reachable_time_ms: 20}
        link_local_ips: [169.254.1.2, fe80::2]
      back:
  api: {networks: [back], sandbox: {pid: 4242}}
  agent: {networks: [hosts]}
  lonely:
"""


def loaded(text: str, environ: Mapping[str, str] = os.environ) -> Manifest:
    return load(["-"], environ, io.StringIO(text))


def failure(*paths: object, environ: Mapping[str, str] = os.environ, stdin: str = "") -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load([str(path) for path in paths], environ, io.StringIO(stdin))
    return [str(problem) for problem in caught.value.problems]


def test_every_key_arrives_in_its_canonical_form() -> None:
    manifest = loaded(EVERYTHING)
    front = manifest.networks["front"]
    assert manifest.project == "shop"
    assert manifest.default_address_pools == (AddressPool("10.128.0.0/9", 24),)
    assert front.driver_opts == {"name": "br-front", "icc": False}
    assert front.ipam == (
        IpamConfig("10.20.0.0/24", "10.20.0.128/25", "10.20.0.1", {"printer": "10.20.0.9"}),
        IpamConfig("fd00:20::/64"),
    )
    assert (front.enable_ipv4, front.enable_ipv6, front.mtu, front.metric) == (True, True, 1400, 50)
    assert (front.protect, front.no_default_route, front.internal, front.external) == (True, True, False, False)
    assert front.routes == (
        StaticRoute("10.9.0.0/16", "10.20.0.7"),
        StaticRoute("10.8.0.0/16", None, "blackhole", 5),
    )
    assert (front.allow, front.labels) == (("back",), {"a": "1", "b": ""})
    web = manifest.containers["web"]
    assert (web.sandbox, web.labels) == (SandboxRef("netns", "shop-web", False), {"tier": "web"})
    assert web.endpoints == (
        EndpointSpec(
            container="web",
            network="front",
            addresses=("10.20.0.11", "10.20.0.10", "fd00:20::a"),
            link_local_ips=("169.254.1.2", "fe80::2"),
            mac_address="02:42:ac:11:00:02",
            interface_name="eth7",
            gw_priority=100,
            sysctls={"ipv4.conf.rp_filter": "1", "ipv6.neigh.base_reachable_time_ms": "20"},
        ),
        EndpointSpec("web", "back"),
    )


def test_a_container_is_where_it_says_or_in_a_namespace_of_its_name_or_the_hosts() -> None:
    containers = loaded(EVERYTHING).containers
    assert containers["api"].sandbox == SandboxRef("pid", "4242")
    assert containers["agent"].sandbox == SandboxRef("host")
    assert containers["lonely"].sandbox == SandboxRef("netns", "lonely", True)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("networks", "front", "mtu"), "15:10"),
        (("networks", "front", "ipam"), "11:5"),
        (("networks", "front", "ipam", "config", 1, "subnet"), "14:20"),
        (("networks", "front", "ipam", "config", 1, "gateway"), "14:11"),
        (("networks", "back"), "22:3"),
        (("networks", "back", "driver_opts", "name"), "22:3"),
        (("networks", "none"), "7:1"),
        (("containers", "api", "networks", "back"), "38:20"),
        (("containers", "web", "networks", "front", "ipv4_address", 1), "30:36"),
        (("containers", "web", "labels", "tier"), "5:18"),
        ((), "2:1"),
    ],
)
def test_a_position_is_that_of_the_value_or_of_the_nearest_thing_said(path: tuple[str | int, ...], place: str) -> None:
    assert str(loaded(EVERYTHING).position(*path)) == f"-:{place}"


@pytest.mark.parametrize("switch", ["yes", "on", "true", "Yes", "TRUE", "ON"])
def test_switches_may_be_said_in_every_word_for_them(switch: str) -> None:
    assert loaded(f"project: p\nnetworks: {{a: {{internal: {switch}}}}}").networks["a"].internal is True


def test_words_and_numbers_are_texts_where_texts_are_wanted() -> None:
    manifest = loaded(
        "project: on\nnetworks: {no: , 010: {labels: {on: yes, v: 1.10, n: 0x1f, none: , q: '~'}}}\n"
        "containers: {1: {sandbox: {netns: 53}, networks: [no, 010]}, y: }\n"
    )
    assert manifest.project == "on"
    assert list(manifest.networks) == ["no", "010"]
    assert manifest.networks["010"].labels == {"on": "yes", "v": "1.10", "n": "0x1f", "none": "", "q": "~"}
    assert [end.network for end in manifest.containers["1"].endpoints] == ["no", "010"]
    assert manifest.containers["1"].sandbox.value == "53"
    assert manifest.containers["y"].sandbox.value == "y"


@pytest.mark.parametrize("mac", ["02:42:00:00:00:11", "024200000011", "02-42-00-00-00-11", "0242.0000.0011"])
def test_macs_of_digits_alone_are_no_numbers(mac: str) -> None:
    manifest = loaded(f"project: p\nnetworks: {{a: }}\ncontainers: {{c: {{networks: {{a: {{mac_address: {mac}}}}}}}}}")
    assert manifest.containers["c"].endpoints[0].mac_address == "02:42:00:00:00:11"


def test_colons_between_digits_are_no_numbers_to_the_base_of_sixty() -> None:
    assert loaded("project: p\nnetworks: {a: {labels: {ports: 53:53}}}").networks["a"].labels == {"ports": "53:53"}


@pytest.mark.parametrize("version", ["1", '"1"', "0x1"])
def test_the_version_may_be_a_number_or_a_text(version: str) -> None:
    assert loaded(f"version: {version}\nproject: p").project == "p"


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    manifest = loaded(
        "project: p\nx-a: &a {mtu: 1400, internal: true}\nx-b: &b {mtu: 1300, protect: true}\n"
        "networks:\n  one: {<<: [*a, *b], internal: false}\n  two: *b\n  three: {<<: *a}\n"
    )
    one, two, three = manifest.networks.values()
    assert (one.mtu, one.internal, one.protect) == (1400, False, True)
    assert (two.mtu, two.protect) == (1300, True)
    assert (three.mtu, three.internal) == (1400, True)


def test_a_value_that_is_shared_is_typed_for_each_use() -> None:
    manifest = loaded("project: p\nnetworks: {a: {mtu: &n 1400, labels: {mtu: *n}}, b: {labels: {x: *n}, mtu: *n}}")
    assert [(one.mtu, list(one.labels.values())) for one in manifest.networks.values()] == [(1400, ["1400"])] * 2


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    text = "\n".join(["project: p", *lines])
    assert failure("-", stdin=text) == [
        "-:7:46: error: the file holds more than 1000000 values; use fewer aliases, or split the file"
    ]


def test_variables_are_replaced_in_values_and_then_typed() -> None:
    text = (
        "project: ${NAME}-${STAGE:-dev}\nnetworks:\n  a:\n    mtu: ${MTU}\n    internal: ${EMPTY:-true}\n"
        "    labels: {d: a$$b, e: '${EMPTY}', f: '${EVIL}'}\n  b: {mtu: '${MTU}'}\n# ${COMMENT}\n"
    )
    evil = "x, y: 1\nz: {"
    manifest = loaded(text, {"NAME": "shop", "MTU": "1400", "EMPTY": "", "EVIL": evil})
    network = manifest.networks["a"]
    assert (manifest.project, manifest.networks["b"].mtu) == ("shop-dev", 1400)
    assert (network.mtu, network.internal, network.labels) == (1400, True, {"d": "a$b", "e": "", "f": evil})


def test_without_libyaml_the_tree_is_the_same() -> None:
    fast, slow = (parse(Source("f", EVERYTHING), {}, [], pure=pure) for pure in (False, True))
    assert fast == slow
    assert fast is not None
    assert slow is not None
    assert fast.key_at == slow.key_at
    assert fast["networks"]["front"].value_at == slow["networks"]["front"].value_at


def test_files_and_folders_merge_into_one_manifest(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "b.yml").write_text("project: p\nversion: 1\ncontainers: {web: {networks: [front]}}\nx-a: 1")
    (tmp_path / "conf" / "a.yaml").write_text("project: p\nnetworks: {front: }\nx-a: 2")
    (tmp_path / "conf" / "empty.yaml").write_text("# nothing yet\n")
    (tmp_path / "conf" / "notes.txt").write_text("not: [a manifest")
    (tmp_path / "conf" / ".hidden.yaml").write_text("not: [a manifest")
    single = tmp_path / "c.yaml"
    single.write_text("version: '1'\nnetworks: {back: }\n")
    manifest = load([str(tmp_path / "conf"), str(single), str(single)])
    assert (list(manifest.networks), list(manifest.containers)) == (["front", "back"], ["web"])
    assert manifest.position("networks", "back") == Position(str(single), 2, 12)
    assert manifest.position("containers", "web", "networks", "front").file.endswith("/b.yml")


def test_what_two_files_say_differently_is_shown_at_both_places(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text("project: p\nnetworks: {a: , b: }\ncontainers:\n  web:\ndefault_address_pools: []\n")
    two.write_text("project: q\nnetworks: {b: }\ncontainers:\n  api:\n  web:\ndefault_address_pools: []\n")
    assert failure(one, two) == [
        f"{two}:1:10: error: project is q here and p at {one}:1:10; files that are one agree in it",
        f"{two}:2:12: error: the network b is given twice, first at {one}:2:17; remove one",
        f"{two}:5:3: error: the container web is given twice, first at {one}:4:3; remove one",
        f"{two}:6:1: error: the key default_address_pools is given twice, first at {one}:5:1; remove one",
    ]


def test_all_problems_of_all_files_come_in_one_go(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("1.yaml", "2.yaml", "3.yaml", "missing.yaml")]
    files[0].write_text("networks: [a\n")
    files[1].write_text("a: b: c\n")
    files[2].write_text("networks: {a: {mtu: 1}}\ncontainers: {web: {networks: [in-1]}}\n")
    assert failure(*files) == [
        f"{files[0]}:1:11: error: the list that opens here is never closed; close it with ]",
        f"{files[1]}:1:5: error: there is a colon too many; put a value that has ': ' in it in quotes",
        f"{files[2]}:1:21: error: mtu is 1, and must be between 68 and 65535",
        f"{files[3]}:1:1: error: the file can't be read: No such file or directory; is its name right?",
    ]


def test_a_wrong_network_is_not_held_against_its_containers() -> None:
    text = "project: p\nnetworks: {a: {ipam: {config: [{subnt: 10.0.0.0/24}]}}}\ncontainers:\n"
    text += "  web: {networks: {a: {ipv4_address: 10.0.0.5}}}\n  api: {networks: {b: }}\n"
    assert failure("-", stdin=text) == [
        "-:2:33: error: unknown key subnt in an ipam.config entry; did you mean subnet?",
        "-:5:20: error: there is no network b; add it under networks",
    ]


def test_a_problem_can_show_its_line() -> None:
    with pytest.raises(ManifestError) as caught:
        load(["-"], {}, io.StringIO("project: p\r\nnetworks: {a: {mtu: 1}}\r\n"))
    position = caught.value.problems[0].position
    assert caught.value.line_of(position) == "networks: {a: {mtu: 1}}"
    assert caught.value.line_of(Position("other", 1, 1)) is None
    assert caught.value.line_of(Position("-", 9, 1)) is None


def test_what_cannot_be_read_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    latin, large = tmp_path / "latin.yaml", tmp_path / "large.yaml"
    latin.write_bytes(b"project: p\n# caf\xe9\n")
    with large.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    assert failure(empty, latin, large, f"{tmp_path}/a\0b") == [
        f"{tmp_path}/a\0b:1:1: error: the file can't be read: embedded null byte",
        f"{empty}:1:1: error: there is no manifest in this folder; it needs a file *.yaml or *.yml",
        f"{large}:1:1: error: the file is larger than 10 MiB; split it into several",
        f"{latin}:2:6: error: the file is not text in UTF-8: byte 0xe9; save it as UTF-8",
    ]


def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: str) -> bytes:
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr("reconciler.manifest.source._bytes", refuse)  # root may read everything
    assert failure(tmp_path / "a.yaml") == [
        f"{tmp_path}/a.yaml:1:1: error: the file can't be read: Permission denied; it needs the right to read it"
    ]


def test_no_file_at_all_is_a_problem() -> None:
    assert failure() == ["-:1:1: error: no manifest is given; name a file, a folder, or - for standard input"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_bytes(b"\xef\xbb\xbfproject: p\n")
    assert load([str(file)]).project == "p"


def test_macvlan_networks_may_share_a_subnet_on_different_parents_only() -> None:
    def text(parent: str) -> str:
        ipam = "ipam: {config: [{subnet: 10.0.0.0/24}]}"
        return (
            f"project: p\nnetworks:\n  a: {{driver: macvlan, driver_opts: {{parent: e0}}, {ipam}}}\n"
            f"  b: {{driver: macvlan, driver_opts: {{parent: {parent}}}, {ipam}}}\n"
        )

    assert list(loaded(text("e1")).networks) == ["a", "b"]
    assert failure("-", stdin=text("e0")) == [
        "-:4:76: error: subnet 10.0.0.0/24 overlaps with 10.0.0.0/24 of network a; choose another"
    ]


@pytest.mark.parametrize(
    ("subnet", "count", "fits"),
    [("10.0.0.0/31", 1, True), ("10.0.0.0/31", 2, False), ("10.0.0.0/32", 1, True), ("10.0.0.0/32", 2, False),
     ("fd00::/127", 1, True), ("fd00::/127", 2, False), ("fd00::/126", 2, True), ("fd00::/126", 3, False),
     ("10.0.0.0/29", 5, True), ("10.0.0.0/29", 6, False), ("0.0.0.0/29", 5, True), ("0.0.0.0/29", 6, False)],
)  # fmt: skip
def test_small_subnets_hold_as_many_containers_as_they_have_addresses(subnet: str, count: int, fits: bool) -> None:
    containers = "".join(f"  c{n}: {{networks: [a]}}\n" for n in range(count))
    text = f"project: p\nnetworks: {{a: {{ipam: {{config: [{{subnet: '{subnet}'}}]}}}}}}\ncontainers:\n{containers}"
    if fits:
        assert len(loaded(text).containers) == count
    else:
        assert "containers that pin none" in failure("-", stdin=text)[0]


def test_two_subnets_of_one_family_are_both_filled() -> None:
    config = "[{subnet: 10.0.0.0/30}, {subnet: 10.0.1.0/30}]"
    text = f"project: p\nnetworks: {{a: {{ipam: {{config: {config}}}}}}}\ncontainers: {{b: {{networks: [a]}}, "
    assert len(loaded(text + "c: {networks: [a]}}").containers) == 2


def test_a_bridge_with_more_than_1023_ports_is_refused() -> None:
    containers = "".join(f"  c{n}: {{networks: [a]}}\n" for n in range(1024))
    text = f"project: p\nnetworks:\n  a: {{ipam: {{config: [{{subnet: 10.0.0.0/16}}]}}}}\ncontainers:\n{containers}"
    assert failure("-", stdin=text) == [
        "-:3:3: error: network a has 1024 endpoints, and a bridge has 1023 ports at most; "
        "spread the containers over several networks"
    ]


def test_a_drivers_options_for_endpoints_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"cost": {"type": "integer", "minimum": 1}}
    monkeypatch.setattr("reconciler.drivers.bridge.ENDPOINT_OPTIONS", options, raising=False)
    text = "project: p\nnetworks: {a: }\ncontainers: {web: {networks: {a: {driver_opts: "
    assert loaded(text + "{cost: 4}}}}}").containers["web"].endpoints[0].driver_opts == {"cost": 4}
    assert failure("-", stdin=text + "{cost: 0, cots: 1}}}}}") == [
        "-:3:55: error: cost is 0, and must be 1 at least",
        "-:3:64: error: the driver bridge has no option 'cots' for an endpoint; did you mean cost?",
    ]


def test_loading_a_right_manifest_imports_nothing_slow() -> None:
    program = (
        "import io, sys; from reconciler.manifest import load; "
        "load(['-'], {}, io.StringIO('project: p\\nnetworks: {a: }\\ncontainers: {b: {networks: [a]}}')); "
        "print(sorted({'jsonschema', 'pyroute2', 'typer', 'difflib', 'asyncio', 'inspect'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    slow = {"jsonschema", "pyroute2", "typer", "difflib", "asyncio"}
    assert not slow & set(done.stdout.strip()[1:-1].replace("'", "").split(", "))
