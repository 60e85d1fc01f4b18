"""Drivers in other languages: the questions, the answers, and what is said of a wrong answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import drivers, wire
from reconciler.drivers import Driver
from reconciler.errors import DriverError
from reconciler.firewall import Zone
from reconciler.host import executables as host
from reconciler.lowering.addressing import addressing
from reconciler.manifest.model import EndpointSpec, IpamConfig, NetworkSpec
from reconciler.networks import Endpoint, Network, Parent, StaticRoute, Subnet
from reconciler.plugins import executables, schemas
from reconciler.plugins.executables import Reply, check_request, lower_request
from reconciler.resources import Address, FdbEntry, Link, Neighbour, Peer, Route
from tests.drivers import answering, executable

ABOUT: dict[str, Any] = {"netapply": 1, "summary": "made by hand"}
WEB = Endpoint(
    "web", "front", "eth0", "02:00:00:00:00:01", ("10.20.0.10/24", "fd00::10/64"),
    (StaticRoute("0.0.0.0/0", "10.20.0.1"), StaticRoute("192.0.2.0/24", type="blackhole", metric=7)),
    sysctls={"ipv4.conf.rp_filter": "2"},
)  # fmt: skip
FRONT = Network(
    "shop", "front", "mine", 1500, subnets=(Subnet("10.20.0.0/24", "10.20.0.1"), Subnet("fd00::/64")), endpoints=(WEB,)
)
SPEC = NetworkSpec("front", "mine", ipam=(IpamConfig("10.20.0.0/24"),), routes=(StaticRoute("::/0", "fd00::1"),))
REQUEST = jsonschema.Draft202012Validator(schemas.request())
REPLY = jsonschema.Draft202012Validator(schemas.reply())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "FOLDERS", ())
    monkeypatch.setenv(host.VARIABLE, str(tmp_path))
    return tmp_path


def found(folder: Path, **replies: Any) -> Driver:
    """Return a driver that has fixed answers."""
    executable(folder, "mine", answering({"describe": ABOUT, "check": {"complaints": []}, **replies}))
    driver = drivers.find("mine")
    assert driver is not None
    return driver


def ask(folder: Path, **replies: Any) -> None:
    driver = found(folder, **replies)
    list(driver.check(SPEC, [EndpointSpec("web", "front")]))
    list(driver.lower(FRONT))


def fault(folder: Path, doing: str, **replies: Any) -> list[str]:
    """Return the lines of what is said of wrong answers, less what they begin with."""
    with pytest.raises(DriverError) as wrong:
        ask(folder, **replies)
    lines, start = str(wrong.value).splitlines(), f"driver mine ({folder}/mine)"
    assert all(line.startswith(start) for line in lines), lines
    return [line.removeprefix(start).replace(f" at {doing}", "").removeprefix(": ") for line in lines]


# What it is


def test_a_driver_says_what_it_is(folder: Path) -> None:
    options = {"mode": {"enum": ["open", "shut"], "default": "open", "description": "How."}}
    traits = {"gateway_on_host": True, "overhead": 50, "host_link": True, "has_gateway": {"unless": {"mode": ["shut"]}}}
    driver = found(folder, describe={**ABOUT, "options": options, "traits": traits, "timeout": 20})
    assert ("made by hand", options) == (driver.SUMMARY, driver.OPTIONS)
    assert (driver.TRAITS.gateway_on_host, driver.TRAITS.overhead, driver.TRAITS.addressed) == (True, 50, True)
    assert [driver.TRAITS.has_gateway(opts, 4) for opts in ({}, {"mode": "open"}, {"mode": "shut"})] == [
        True,
        True,
        False,
    ]
    assert driver.TRAITS.host_link("shop", "front", {}) == "shop-front"
    assert driver.TRAITS.host_link("shop", "front", {"name": "br0"}) == "br0"


def test_a_default_counts_for_whether_there_is_a_way_out(folder: Path) -> None:
    options = {"mode": {"enum": ["open", "shut"], "default": "shut"}}
    traits = {"has_gateway": {"unless": {"mode": ["shut"]}}}
    assert not found(folder, describe={**ABOUT, "options": options, "traits": traits}).TRAITS.has_gateway({}, 4)


def test_what_it_is_is_asked_once_for_as_long_as_the_file_is_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = host.run

    def counting(file: Any, request: bytes, timeout: float, doing: str) -> bytes:
        asked.append(doing)
        return run(file, request, timeout, doing)

    monkeypatch.setattr(host, "run", counting)
    found(folder)
    assert drivers.find("mine") is not None
    assert asked == ["describe"]
    driver = found(folder, describe={**ABOUT, "summary": "another one"})
    assert (driver.SUMMARY, asked) == ("another one", ["describe"] * 2)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"netapply": 1}, "the reply has no summary; it must have one"),
        ({"summary": "x"}, "the reply has no netapply; it must have one"),
        ({**ABOUT, "netapply": 2}, "netapply is 2, and this netapply speaks version 1; use a driver for that version"),
        ({**ABOUT, "sumary": "x"}, "the reply has a key 'sumary' that means nothing; did you mean summary?"),
        ({**ABOUT, "summary": ""}, "SUMMARY is ''; make it one line of text"),
        ({**ABOUT, "timeout": 600}, "timeout is 600; it must be seconds, up to 60"),
        ({**ABOUT, "timeout": True}, "timeout is True; it must be seconds, up to 60"),
        ({**ABOUT, "options": []}, "options is no object; it must have the JSON Schema of each option by its name"),
        (
            {**ABOUT, "options": {"a": {"type": "txt"}}},
            "OPTIONS['a'] is no JSON Schema: 'txt' is not valid under any of",
        ),
        ({**ABOUT, "traits": []}, "traits is no object; it must be one"),
        (
            {**ABOUT, "traits": {"adressed": True}},
            "traits has a key 'adressed' that means nothing; did you mean addressed?",
        ),
        ({**ABOUT, "traits": {"overhead": "50"}}, "traits.overhead is '50'; it must be a whole number"),
        ({**ABOUT, "traits": {"has_gateway": "no"}}, "traits.has_gateway is not understood; it must be true, false or"),
        ({**ABOUT, "traits": {"host_link": "br0"}}, "traits.host_link is not understood; it must be true or false"),
        ({"error": "no licence"}, "it says: no licence"),
        ([], "it printed no JSON object; print one object, and nothing else"),
    ],
)
def test_a_driver_that_says_wrong_things_of_itself_is_told_which(folder: Path, reply: Any, said: str) -> None:
    assert fault(folder, "describe", describe=reply)[0].startswith(said)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", "it printed nothing; print one object, and nothing else"),
        ("hello", "it printed no JSON: Expecting value"),
        ("{} {}", "it printed no JSON: Extra data"),
        ("[" * 100_000, "it printed no JSON: maximum recursion depth exceeded"),
        ("\\377", "it printed no JSON: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_no_json_is_told_as_such(folder: Path, printed: str, said: str) -> None:
    (folder / "printed").write_bytes(printed.encode().replace(b"\\377", b"\xff"))
    (folder / "printed").chmod(0o644)
    folder.chmod(0o755)
    with pytest.raises(DriverError) as wrong:
        Reply("driver mine at lower", (folder / "printed").read_bytes())
    assert str(wrong.value).startswith(f"driver mine at lower: {said}")


# What is wrong


def test_complaints_come_with_their_paths(folder: Path) -> None:
    wrong = {"path": ["driver_opts", "mode"], "what": "too much", "mend": "take less"}
    driver = found(folder, check={"complaints": [wrong, {"path": ["ipam", "config", 0], "what": "no"}]})
    assert [tuple(one)[:3] for one in driver.check(SPEC, [])] == [
        (("driver_opts", "mode"), "too much", "take less"),
        (("ipam", "config", 0), "no", ""),
    ]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({}, "the reply has no complaints; it must have one"),
        ({"complaints": None}, "complaints is no list; it must be one"),
        ({"complaints": ["no"]}, "complaints[0] is no object; it must be one"),
        ({"complaints": [{"path": [], "what": 1}]}, "complaints[0].what is 1; it must be a text"),
        (
            {"complaints": [{"path": [None], "what": "x"}]},
            "complaints[0].path[0] is nothing; it must be a text or a whole",
        ),
        ({"complaints": [{"path": []}]}, "complaints[0] has no what; it must have one"),
    ],
)
def test_a_wrong_answer_to_check_is_told_with_its_place(folder: Path, reply: Any, said: str) -> None:
    assert fault(folder, "check of network front", check=reply)[0].startswith(said)


# What is needed


def lowered(folder: Path, *resources: Any, network: Network = FRONT) -> list[Any]:
    return list(found(folder, lower={"resources": list(resources)}).lower(network))


BRIDGE = {"link": {"path": "front", "kind": "bridge", "sandbox": "", "name": "br0"}}
PORT = {
    "link": {
        "path": "web/front", "kind": "veth", "sandbox": "", "name": "ve0", "master": "front",
        "port": {"isolated": True},
        "peer": {"sandbox": "web", "name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1400.0},
    }
}  # fmt: skip


def test_resources_of_every_kind_that_is_a_drivers_come_out_as_they_are_meant(folder: Path) -> None:
    zone = {"network": "front", "interface": "br0", "subnets": ["10.20.0.0/24"], "mode_ipv4": "routed"}
    assert lowered(
        folder,
        BRIDGE,
        PORT,
        {"address": {"link": "front", "address": "10.20.0.1/24"}},
        {"route": {"sandbox": "web", "destination": "0.0.0.0/0", "via": "10.20.0.1", "link": "web/front"}},
        {"neighbour": {"link": "front", "address": "10.20.0.10", "mac": "02:00:00:00:00:01"}},
        {"fdb": {"link": "front", "mac": "00:00:00:00:00:00", "via": "192.0.2.1"}},
        {"zone": zone},
    ) == [
        Link("front", "bridge", "", "br0"),
        Link(
            "web/front", "veth", "", "ve0", master="front", port={"isolated": True},
            peer=Peer("web", "eth0", mac="02:00:00:00:00:01", mtu=1400),
        ),
        Address("front", "10.20.0.1/24"),
        Route("web", "0.0.0.0/0", "10.20.0.1", "web/front"),
        Neighbour("front", "10.20.0.10", "02:00:00:00:00:01"),
        FdbEntry("front", "00:00:00:00:00:00", "192.0.2.1"),
        Zone("front", "br0", ("10.20.0.0/24",), mode_ipv4="routed"),
    ]  # fmt: skip


def test_links_of_a_protected_network_are_marked_without_the_driver_knowing(folder: Path) -> None:
    [link] = lowered(folder, BRIDGE, network=replace(FRONT, protect=True))
    assert link.tags == ("protect",)


def test_a_parent_that_netapply_makes_is_made_without_the_drivers_doing(folder: Path) -> None:
    below = Parent("eth0")
    vlan = Parent("eth0.20", "vlan", "#eth0.20", below, 20, 1500)
    upper = {"path": "web/front", "kind": "macvlan", "sandbox": "web", "name": "eth0", "parent": "#eth0.20"}
    macvlan = {"link": {**upper, "options": {"mode": "bridge"}}}
    [made, link] = lowered(folder, macvlan, network=replace(FRONT, parent=vlan))
    assert (made.path, made.kind, made.parent, link.parent) == ("#eth0.20", "vlan", "/eth0", "#eth0.20")
    assert lower_request(replace(FRONT, parent=vlan))["network"]["parent_reference"] == "#eth0.20"  # type: ignore[index, call-overload]
    upper["parent"] = "/eth0"
    [link] = lowered(folder, macvlan | {"link": upper}, network=replace(FRONT, parent=below))
    assert link.parent == "/eth0"


def test_what_an_endpoint_carries_can_be_given_back_as_it_came(folder: Path) -> None:
    request: Any = lower_request(FRONT)
    given = request["network"]["endpoints"][0]["addressing"]
    assert lowered(folder, BRIDGE, PORT, *given)[2:] == list(addressing(WEB))


def test_options_that_the_manifest_leaves_out_are_there_with_their_defaults(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    run = host.run

    def noting(file: Any, request: bytes, timeout: float, doing: str) -> bytes:
        seen.append(json.loads(request))
        return run(file, request, timeout, doing)

    monkeypatch.setattr(host, "run", noting)
    options = {"a": {"type": "integer", "default": 7}, "b": {"type": "integer", "default": 8}, "c": {"type": "string"}}
    driver = found(folder, describe={**ABOUT, "options": options}, lower={"resources": []})
    list(driver.lower(replace(FRONT, options={"b": 9})))
    assert seen[-1]["network"]["options"] == {"a": 7, "b": 9}


def change(resource: Any, **values: Any) -> Any:
    [(kind, inner)] = resource.items()
    return {kind: {**inner, **values}}


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({}, 'resources[0] has 0 keys; it must have one, the kind, such as {"link": {...}}'),
        ({"lnk": {}}, "resources[0] has a key 'lnk' that means nothing; did you mean link?"),
        ({"netns": {"sandbox": "web"}}, "resources[0] has a key 'netns' that means nothing; there are link, "),
        ({"sysctl": {"name": "a", "value": "1"}}, "resources[0] has a key 'sysctl' that means nothing"),
        ({"link": 7}, "resources[0].link is no object; it must be one"),
        ({"link": {"path": "front"}}, "resources[0].link has no kind; it must have one"),
        (change(BRIDGE, mtu="1500"), "resources[0].link.mtu is '1500'; it must be a whole number or null"),
        (change(BRIDGE, mtu=70000), "resources[0].link.mtu is 70000; it must be between 68 and 65535"),
        (change(BRIDGE, mtu=True), "resources[0].link.mtu is true; it must be a whole number or null"),
        (change(BRIDGE, name="a name"), "resources[0].link.name is 'a name'; it must match ^"),
        (change(BRIDGE, name="\ud800"), "resources[0].link.name is '\\ud800'; half a surrogate pair is no letter"),
        (change(BRIDGE, mac="02-00"), "resources[0].link.mac is '02-00'; it must match"),
        (change(BRIDGE, tags=["protect"]), "resources[0].link has a key 'tags' that means"),
        (change(BRIDGE, options={"stp_state": None}), "resources[0].link.options.stp_state is nothing;"),
        (change(PORT, peer={"sandbox": "web", "nme": "x"}), "resources[0].link.peer has a key 'nme' that"),
        ({"zone": {"network": "front", "interface": "br0", "subnets": "all"}}, "resources[0].zone.subnets is"),
        (change(BRIDGE, path="other"), "link other: its path is not the network's; it must be front"),
        (change(BRIDGE, path="db/front"), "link db/front: its path is not the network's"),
        (change(BRIDGE, kind="brige"), "link front: netapply makes no links of kind brige; did you mean bridge?"),
        (change(BRIDGE, options={"stp": True}), "link front: a bridge has no option stp;"),
        (change(BRIDGE, sandbox="other"), "link front needs netns other, which the driver does not yield"),
        (change(BRIDGE, master="/eth0"), "link front: it stands on eth0, a link of the host that the"),
        (change(BRIDGE, master="other"), "link front needs link other, which the driver does not yield"),
        (change(BRIDGE, mac="01:00:00:00:00:00"), "link front: the MAC 01:00:00:00:00:00 is nobody's; the first octet"),
        (change(BRIDGE, name="lo"), "link front: 'lo' can't be the name of an interface"),
        ({"address": {"link": "front", "address": "10.20.0.1"}}, "address front 10.20.0.1: address '10.20.0.1' is no"),
        ({"route": {"sandbox": "", "destination": "0.0.0.0/0", "type": "blackhole"}}, "route  0.0.0.0/0 metric 0: the"),
        ({"route": {"sandbox": "db", "destination": "10.0.0.0/8", "type": "blackhole"}}, "route db 10.0.0.0/8"),
        ({"zone": {"network": "back", "interface": "br0", "subnets": []}}, "the zone of back: it is another network's"),
        ({"zone": {"network": "front", "interface": "eth0", "subnets": []}}, "the zone of front: its interface"),
        ({"zone": {"network": "front", "interface": "br0", "subnets": ["10.0.0.0/8"]}}, "the zone of front: its"),
    ],
)  # fmt: skip
def test_a_wrong_resource_is_told_with_its_place_and_the_mend(folder: Path, resource: Any, said: str) -> None:
    lines = fault(folder, "lower of network front", lower={"resources": [resource]})
    assert lines[0].startswith(said), lines


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([change(BRIDGE, name="br1")], "it yields two different things for link front; give one another path"),
        (
            [{"address": {"link": "front", "address": "198.51.100.1/24"}}],
            "address front 198.51.100.1/24: the host would be in a subnet that is not the network's",
        ),
        (
            [{"route": {"sandbox": "", "destination": "198.51.100.0/24", "link": "front"}}],
            "route  198.51.100.0/24 metric 0: the host would send by it what is not the network's",
        ),
        ([change(PORT, sandbox="db")], "link web/front needs netns db"),
    ],
)
def test_a_driver_keeps_to_its_network(folder: Path, more: Any, said: str) -> None:
    assert fault(folder, "lower of network front", lower={"resources": [BRIDGE, *more]})[0].startswith(said)


def test_many_faults_are_told_in_few_lines(folder: Path) -> None:
    said = fault(folder, "lower of network front", lower={"resources": [{"link": 7}] * 1000})
    assert (len(said), said[-1]) == (11, "and 990 more")


def test_a_driver_that_fails_names_the_network(folder: Path) -> None:
    executable(
        folder,
        "mine",
        "#!/bin/sh\nread request\ncase $request in *describe*) echo '" + json.dumps(ABOUT) + "' ;; esac\n",
    )
    driver = drivers.find("mine")
    assert driver is not None
    with pytest.raises(DriverError, match=r"driver mine \(.*/mine\) at lower of network front: it printed nothing"):
        list(driver.lower(FRONT))


# The schemas


@pytest.mark.parametrize("direction", ["request", "reply"])
def test_the_published_schemas_are_up_to_date(direction: str) -> None:
    path = Path(__file__).parents[2] / "schemas" / f"driver-{direction}.schema.json"
    schema = {"request": schemas.request, "reply": schemas.reply}[direction]()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(path.read_text()) == schema, "renew it: make schemas"


NETWORKS = [
    FRONT,
    Network("p", "n", "d", 68),
    replace(FRONT, parent=Parent("eth0.20", "vlan", "#eth0.20", Parent("eth0"), 20, 1500), options={"a": 1, "b": "x"}),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_asked_is_as_the_schema_says(network: Network) -> None:
    assert list(REQUEST.iter_errors(json.loads(json.dumps(lower_request(network))))) == []


def test_all_other_questions_are_as_the_schema_says() -> None:
    asked = [check_request(SPEC, [EndpointSpec("web", "front", ("10.0.0.1",))]), {"netapply": 1, "request": "describe"}]
    assert [list(REQUEST.iter_errors(json.loads(json.dumps(one)))) for one in asked] == [[], []]
    assert not REQUEST.is_valid({"netapply": 1, "request": "explain"})


_scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.just(1500.0),
    st.sampled_from(["", "front", "br0", "web/front"]),
)


def _values(one: wire.Form) -> st.SearchStrategy[Any]:
    """Values that fit a form more often than not."""
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(["br0", "10.0.0.0/8", "02:00:00:00:00:01", "nat", "unicast"]),
        "integer": st.sampled_from([68, 1500, 1500.0, 4094]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    choices: list[st.SearchStrategy[Any]] = [simple[kind] for kind in one.types if kind in simple]
    if "array" in one.types and one.item:
        choices.append(st.lists(_values(one.item), max_size=2))
    if "object" in one.types and one.item:
        choices.append(st.dictionaries(st.sampled_from(["mode", "x"]), _values(one.item), max_size=2))
    if one.cls:
        members = {name: _values(form) for name, (form, _) in wire.members(one.cls).items()}
        needed = {name: members[name] for name, (_, must) in wire.members(one.cls).items() if must}
        odd = st.dictionaries(st.sampled_from([*members, "odd"]), _scalars, max_size=1)
        whole = st.fixed_dictionaries(
            needed, optional={name: form for name, form in members.items() if name not in needed}
        )
        choices.append(st.builds(lambda right, wrong, take: {**right, **(wrong if take else {})}, whole, odd, _seldom))
    return st.one_of(choices)


_seldom = st.sampled_from([False, False, False, True])


FORMS = {kind: wire.Form(("object",), cls=cls) for kind, cls in wire.YIELDED.items()}


@given(st.sampled_from(sorted(FORMS)).flatmap(lambda kind: st.tuples(st.just(kind), _values(FORMS[kind]))))
def test_reading_a_resource_and_its_schema_have_one_verdict(pair: tuple[str, Any]) -> None:
    kind, value = pair
    document = {"resources": [{kind: value}]}
    reply = Reply("driver mine", json.dumps(document).encode())
    if not REPLY.is_valid(document):
        with pytest.raises(DriverError):
            reply.listed("resources", reply.resource)
        return
    [read] = reply.listed("resources", reply.resource)
    assert wire.YIELDED[kind] is type(read)
    again = Reply("driver mine", json.dumps({"resources": [{kind: wire.written(read)}]}).encode())
    assert again.listed("resources", again.resource) == [read]


def test_only_what_a_driver_in_another_language_may_say_is_in_the_schema() -> None:
    link = schemas.reply()["$defs"]["Link"]
    assert "tags" not in link["properties"]
    assert set(wire.YIELDED) == {"link", "address", "route", "neighbour", "fdb", "vlan", "zone"}
    assert executables.TIMEOUT <= executables.LONGEST
