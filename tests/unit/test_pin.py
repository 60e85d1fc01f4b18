"""Writing what was allocated into the manifest: only text is added, and the result means the same topology."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.allocation.allocate import allocate
from reconciler.errors import ManifestError
from reconciler.host import Facts, HostLink, Observation
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import Topology
from reconciler.pin import pin

EXAMPLES = Path(__file__).parents[2] / "manifests"

ETH0 = HostLink("eth0", "", 1500, up=True, addresses=("192.0.2.5/24",))
HERE = Observation({}, Facts(links={"eth0": ETH0}, default_link="eth0"))
ELSEWHERE = Observation({}, Facts(links={"eth0": ETH0}, default_link="eth0", nameservers=("172.16.0.0/12",)))
"""A host on which every subnet of the first pools is in use, so that what is not pinned is chosen anew."""


def read(text: str) -> Manifest:
    return load(["-"], {"SIZE": "0.0.0.0/24", "NET": "10.7.0.0/24"}, io.StringIO(text, newline=""))


def pinned(text: str) -> tuple[Topology, str]:
    """Return what a manifest's text allocates to, and the text with that pinned."""
    manifest = read(text)
    topology = allocate(manifest, HERE)
    return topology, pin(manifest, topology).get("-", text)


def is_kept(before: str, after: str) -> bool:
    """Whether all of a text is in another, in its order, but for nulls, sizes and what makes a list a list."""
    letters = iter(after)
    return all(letter in letters for letter in re.sub(r"0\.0\.0\.0/24|::/\d+|null|[][~ -]", "", before))


def check(text: str) -> str:
    """Pin, and assert what must hold for every manifest; returns the new text."""
    topology, after = pinned(text)
    assert allocate(read(after), ELSEWHERE) == topology
    assert pinned(after) == (topology, after)
    assert is_kept(text, after)
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == comments
    return after


def with_networks(networks: str, containers: str = "containers:\n  web: {networks: [front]}\n") -> str:
    return f"project: shop\nnetworks:\n{networks}{containers}"


FIXED = "networks:\n  front: {ipam: {config: [{subnet: 10.20.0.0/24, ip_range: 10.20.0.128/32}]}}\n"
"""A network with one address to give, 10.20.0.128."""


def test_a_file_that_pins_everything_stays_as_it_is() -> None:
    text = f"project: shop\n{FIXED}containers:\n  web: {{networks: {{front: {{ipv4_address: 10.20.0.9}}}}}}\n"
    manifest = read(text)
    assert pin(manifest, allocate(manifest, HERE)) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{front: }", "{front: {ipv4_address: 10.20.0.128} }"),
        ("{front}", "{front: {ipv4_address: 10.20.0.128}}"),
        ("{front: ~}", "{front: {ipv4_address: 10.20.0.128}}"),
        ("{front: {}}", "{front: {ipv4_address: 10.20.0.128}}"),
        ("{'front': {gw_priority: 1}}", "{'front': {ipv4_address: 10.20.0.128, gw_priority: 1}}"),
        ("{front: { gw_priority: 1 }}", "{front: { ipv4_address: 10.20.0.128, gw_priority: 1 }}"),
        ("[front]", "{front: {ipv4_address: 10.20.0.128}}"),
        ('[ "front", ]', '{ "front": {ipv4_address: 10.20.0.128}, }'),
        ("\n      front:\n", "\n      front: {ipv4_address: 10.20.0.128}\n"),
        ("\n      front:   # first\n", "\n      front: {ipv4_address: 10.20.0.128}   # first\n"),
        ("\n      front: null # first\n", "\n      front: {ipv4_address: 10.20.0.128} # first\n"),
        (
            "\n      front: # first\n        # second\n        gw_priority: 1 # third\n",
            "\n      front: # first\n        ipv4_address: 10.20.0.128\n        # second\n"
            "        gw_priority: 1 # third\n",
        ),
        ("\n      - front  # first\n", "\n      front: {ipv4_address: 10.20.0.128}  # first\n"),
        ("\n    - front  # first\n", "\n      front: {ipv4_address: 10.20.0.128}  # first\n"),
        ("\n      # none\n      -   front", "\n      # none\n      front: {ipv4_address: 10.20.0.128}"),
    ],
)
def test_an_address_is_written_in_the_style_of_its_place(before: str, after: str) -> None:
    start = f"project: shop\n{FIXED}containers:\n  web:\n    networks: "
    if before.startswith("\n"):
        start = start.rstrip(" ")
    assert check(start + before) == start + after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  front:\n", "  front: {ipam: {config: [E]}}\n"),
        ("  front: # c\n", "  front: {ipam: {config: [E]}} # c\n"),
        ("  front: {mtu: 1400}\n", "  front: {ipam: {config: [E]}, mtu: 1400}\n"),
        ("  front:\n    # c\n    mtu: 1400\n", "  front:\n    ipam: {config: [E]}\n    # c\n    mtu: 1400\n"),
        ("  front: {ipam: }\n", "  front: {ipam: {config: [E]} }\n"),
        ("  front:\n    ipam:\n      config:\n", "  front:\n    ipam:\n      config: [E]\n"),
        ("  front: {ipam: {config: []}}\n", "  front: {ipam: {config: [E]}}\n"),
    ],
)
def test_a_subnet_is_written_in_the_style_of_its_place(before: str, after: str) -> None:
    topology, text = pinned(with_networks(before))
    (subnet,) = topology.networks[0].subnets
    entry = f"{{subnet: {subnet.cidr}, gateway: {subnet.gateway}}}"
    assert text.startswith(with_networks(after.replace("E]", f"{entry}]")).partition("containers")[0])
    check(with_networks(before))


@pytest.mark.parametrize(
    "network",
    [
        '  front: {enable_ipv6: true, ipam: {config: [{subnet: "fd00:9::/64"}]}}\n',
        '  front: {ipam: {config: [{subnet: "fd00:9::/64"}, ]}}\n',
        "  front:\n    ipam:\n      config:\n        - subnet: fd00:9::/64  # six\n        # end\n    mtu: 1400\n",
        "  front:\n    ipam:\n      config:\n      - subnet: fd00:9::/64\n        aux_addresses:\n\n",
        "  front:\n    ipam:\n      config:\n      -\n        subnet: fd00:9::/64",
    ],
)
def test_a_subnet_is_added_after_those_that_are_there(network: str) -> None:
    after = check(with_networks(network, "") if not network.endswith("\n") else with_networks(network))
    assert after.index("fd00:9::/64") < after.index("subnet: 172.")


@pytest.mark.parametrize("size", ["0.0.0.0/24", '"0.0.0.0/24"', "'0.0.0.0/24'"])
def test_a_size_gives_way_to_the_subnet(size: str) -> None:
    text = with_networks(f"  front:\n    ipam:\n      config:\n        - subnet: {size}  # small\n")
    after = check(text)
    assert "0.0.0.0/24" not in after
    assert after.count('"') == text.count('"')


def test_a_size_of_ipv6_gives_way_too() -> None:
    assert ": '::/80'" not in check(with_networks("  front: {ipam: {config: [{subnet: '::/80'}]}}\n"))


def test_long_insertions_are_spread_over_lines_where_lines_are() -> None:
    for network in ("  front:\n    enable_ipv6: true\n", "  front: {enable_ipv6: true}\n"):
        after = check(with_networks(network))
        assert ("\n      config:\n        - {subnet: 172." in after) == ("{enable" not in network)


def test_the_ends_of_lines_stay_as_they_are() -> None:
    text = with_networks("  front:\n    mtu: 1400\n  back:\n").replace("\n", "\r\n")
    after = check(text)
    assert after.count("\r\n") == after.count("\n")


def test_the_end_of_the_file_needs_no_newline() -> None:
    check("project: shop\ncontainers: {web: {networks: {front: }}}\nnetworks:\n  front:\n    mtu: 1400")


def test_several_addresses_and_letters_of_many_bytes() -> None:
    check(
        "project: shop  # Ünïcödé \U0001f600\nnetworks:\n  front: {enable_ipv6: true}  # \U0001f600\n  back:\n"
        "containers:\n  web: {networks: [front, back], labels: {a: 'ö'}}\n  api:\n    networks:\n      back:\n"
        '      front: {ipv6_address: "fd00::1"}\n'.replace('{ipv6_address: "fd00::1"}', "")
    )


def test_an_address_that_is_pinned_stays() -> None:
    network = '  front: {ipam: {config: [{subnet: 10.7.0.0/24}, {subnet: "fd00:7::/64"}]}}\n'
    text = with_networks(network, 'containers:\n  web: {networks: {front: {ipv6_address: "fd00:7::9"}}}\n')
    after = check(text)
    assert "front: {ipv4_address: 10.7.0." in after
    assert ', ipv6_address: "fd00:7::9"}' in after


def test_endpoints_without_addresses_stay() -> None:
    text = with_networks("  front: {driver: none}\n")
    assert check(text) == text


def test_what_is_merged_below_the_place_is_left_alone() -> None:
    text = (
        "project: shop\nx-end: &end {gw_priority: 1}\n"
        + FIXED
        + "containers:\n  web:\n    networks:\n      front: {<<: *end}\n"
    )
    assert "front: {ipv4_address: 10.20.0.128, <<: *end}" in check(text)


@pytest.mark.parametrize(
    ("containers", "line", "what"),
    [
        ("  web: &web {networks: [front]}\n  api: *web\n", 5, "in a place that an alias shares"),
        ("  web: {networks: &nets [front]}\n  api: {networks: *nets}\n", 5, "in a place that an alias shares"),
        ("  api: &api\n    networks: [front]\n  web:\n    <<: *api\n", 7, "comes from a merge key"),
        ("  web: {networks: {front: &f {gw_priority: 1}}}\n  api: {networks: {front: *f}}\n", 5, "an alias shares"),
        ("  web: {networks: [&n front]}\n  api: {networks: [*n]}\n", 5, "an alias or a variable"),
    ],
)
def test_a_place_that_is_shared_is_refused_with_where_it_is(containers: str, line: int, what: str) -> None:
    manifest = read("project: shop\nnetworks:\n  front:\ncontainers:\n" + containers)
    with pytest.raises(ManifestError) as caught:
        pin(manifest, allocate(manifest, HERE))
    found = [(problem.position.line, problem.what) for problem in caught.value.problems]
    assert any(at == line and what in words for at, words in found), found


def test_a_network_that_is_shared_is_refused() -> None:
    manifest = read("project: shop\nnetworks:\n  front: &net {mtu: 1400}\n  back: *net\n")
    with pytest.raises(ManifestError, match="4:3: error: nothing can be written here: the subnet of network back"):
        pin(manifest, allocate(manifest, HERE))


def test_a_size_from_a_variable_is_refused_and_a_subnet_from_one_is_not() -> None:
    manifest = read(with_networks("  front: {ipam: {config: [{subnet: '${SIZE}'}]}}\n"))
    with pytest.raises(ManifestError, match="stands for a variable"):
        pin(manifest, allocate(manifest, HERE))
    assert "${NET}" in check(with_networks("  front: {ipam: {config: [{subnet: '${NET}'}]}}\n"))


def test_an_unusual_spelling_is_refused_rather_than_broken() -> None:
    manifest = read("project: shop\nnetworks:\n  ? front\n")
    with pytest.raises(ManifestError, match="spelled in an unusual way"):
        pin(manifest, allocate(manifest, HERE))


def test_pending_containers_are_left_out() -> None:
    manifest = read(f"project: shop\n{FIXED}containers:\n  web: {{sandbox: {{pid: 7}}, networks: [front]}}\n")
    topology = allocate(manifest, Observation({}, Facts(pending={"web": "no process 7"})))
    assert pin(manifest, topology) == {}


def test_each_file_gets_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("project: shop\nnetworks:\n  front:\n")
    (tmp_path / "b.yaml").write_text("containers:\n  web: {networks: [front]}\n")
    (tmp_path / "c.yaml").write_text("# nothing\n")
    manifest = load([str(tmp_path)], {})
    topology = allocate(manifest, HERE)
    texts = pin(manifest, topology)
    assert sorted(texts) == [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    for path, text in texts.items():
        Path(path).write_text(text)
    assert allocate(load([str(tmp_path)], {}), ELSEWHERE) == topology


LENDERS = Observation(
    {},
    Facts(
        links={
            name: HostLink(name, "", 9000, up=True, addresses=(f"10.250.{at}.1/24", f"192.0.2.1{at}/24"))
            for at, name in enumerate(["eth0", "br0", "lan0", "wan0", "eth1"])
        },
        default_link="eth0",
    ),
)


def chosen(topology: Topology) -> Topology:
    """Return a topology without the option that pinning replaces by the addresses that were chosen for it."""
    networks = [
        replace(one, options={name: value for name, value in one.options.items() if name != "host_access"})
        for one in topology.networks
    ]
    return replace(topology, networks=tuple(networks))


def test_the_hosts_own_addresses_are_pinned_too() -> None:
    start = "project: shop\nnetworks:\n  lan:\n    driver: macvlan\n    driver_opts: {host_access: true}  # ours\n"
    for more in ("", "    enable_ipv6: true\n"):
        manifest = read(f"{start}{more}containers: {{}}\n")
        topology = allocate(manifest, HERE)
        (text,) = pin(manifest, topology).values()
        addresses = [one.partition("/")[0] for one in topology.networks[0].host_addresses]
        assert len(addresses) == 1 + bool(more)
        assert "host_access: true" not in text
        assert all(one in text for one in addresses)
        assert chosen(allocate(read(text), HERE)) == chosen(topology)
        assert pin(read(text), topology) == {}


def on_its_first_host(manifest: Manifest) -> Manifest:
    return replace(manifest, here=next(iter(manifest.hosts), None))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_can_be_pinned(path: Path) -> None:
    values = {"PLACE": "lab", "APP_PID": "7"}
    manifest = on_its_first_host(load([str(path)], values))
    topology = allocate(manifest, LENDERS)
    for text in pin(manifest, topology).values():
        again = on_its_first_host(load(["-"], values, io.StringIO(text)))
        assert chosen(allocate(again, LENDERS)) == chosen(topology)
        lines = text.splitlines()
        assert all(line in lines for line in path.read_text().splitlines() if line.lstrip().startswith("#"))


NOTE = st.sampled_from(["", "", "  # note"])
ENDS = st.sampled_from(
    ["", " ~", " {}", " {gw_priority: 1}", "\n        gw_priority: 1", "\n        # n\n        sysctls:"]
)
BODIES = st.sampled_from(
    [
        *("", " {}", " {mtu: 1400}", " {ipam: {config: [{subnet: 0.0.0.0/24}]}}", "\n    mtu: 1400"),
        *("\n    ipam:\n      config:\n      - subnet: ::/64", "\n    # n\n    ipam:\n", " {enable_ipv6: true}"),
    ]
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1))
    lines = ["project: shop", "networks:"]
    for name in names:
        body = draw(BODIES)
        lines.append(f"  {name}:{body}" + ("" if "\n" in body else draw(NOTE)))
    lines.append("containers:")
    for at in range(draw(st.integers(1, 3))):
        form = draw(st.sampled_from(["flow", "block", "inner", "mapping"]))
        if form == "flow":
            lines.append(f"  c{at}: {{networks: [{', '.join(names)}]}}" + draw(NOTE))
            continue
        lines += [f"  c{at}:", "    networks:" + draw(NOTE)]
        for name in names:
            if form == "mapping":
                end = draw(ENDS)
                lines.append(f"      {name}:{end}" + ("" if "\n" in end else draw(NOTE)))
            else:
                lines.append(("      - " if form == "inner" else "    - ") + name + draw(NOTE))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n# end\n"]))


@given(texts())
def test_any_manifest_pinned_means_what_was_allocated(text: str) -> None:
    check(text)
