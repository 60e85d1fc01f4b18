"""What `netapply explain` says of names that files decide over: hosts files, search lists, and who does not run yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import cli, commands, engine
from reconciler.explain import Answer, Situation, Unknown, aimed, concerned, explain, placed, sender, situation
from reconciler.explain.lookup import Search, Try, in_hosts, search, tries
from reconciler.host import Listener, Told
from reconciler.host.fake import FakeHost
from reconciler.report import explain as report
from tests.strategies import Document, manifest

HOSTS = """
127.0.0.1 localhost
10.9.9.9   box Box.Example.org # 10.9.9.8 not
10.9.9.10\tother BOX
fd00::9 box
fe80::1%eth0 box
010.1.1.1 box
"""


def test_a_hosts_file_has_all_addresses_of_a_name_whatever_its_case() -> None:
    assert in_hosts(HOSTS, "box") == ["10.9.9.9", "10.9.9.10", "fd00::9"]
    assert in_hosts(HOSTS, "box.example.org") == ["10.9.9.9"]
    assert in_hosts(HOSTS, "not") == in_hosts("", "box") == in_hosts(HOSTS, "box.") == []


@pytest.mark.parametrize(
    ("text", "domain", "said"),
    [
        ("nameserver 10.0.0.1", "", Search()),
        ("nameserver 10.0.0.1", "example.org", Search(("example.org",))),
        ("search a.example b.example\noptions ndots:2 rotate", "x", Search(("a.example", "b.example"), 2)),
        ("search a.example\ndomain b.example c.example", "x", Search(("b.example",))),
        ("#< search a.example\n search b.example\n; options ndots:3", "", Search()),
        ("options ndots:99\noptions no-tld-query", "", Search((), 15, bare=False)),
        ("options ndots:\nsearch", "x", Search(("x",))),
    ],
)
def test_a_resolv_conf_says_which_names_are_tried(text: str, domain: str, said: Search) -> None:
    assert search(text.splitlines(), domain) == said


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("www", Search(), ["www"]),
        ("www", Search(("a", "b.c")), ["+www.a", "+www.b.c", "www"]),
        ("www.a", Search(("b",)), ["www.a", "+www.a.b"]),
        ("www.a", Search(("b",), 2), ["+www.a.b", "www.a"]),
        ("www", Search(("b",), 0), ["www", "+www.b"]),
        ("www.", Search(("b",), 0), ["www"]),
        ("www", Search(("b", ".")), ["+www.b", "+www", "www"]),
        ("www", Search(("b",), bare=False), ["+www.b"]),
        ("www", Search((), bare=False), ["www"]),
        ("www.a", Search(("b",), 2, bare=False), ["+www.a.b", "www.a"]),
    ],
)
def test_names_are_tried_with_domains_and_as_they_are(name: str, said: Search, words: Sequence[str]) -> None:
    assert list(tries(name, said)) == [Try(word.lstrip("+"), word.startswith("+")) for word in words]


SHOP: Document = {
    "project": "shop",
    "networks": {
        "front": {"ipam": {"config": [{"subnet": "10.20.0.0/24"}]}},
        "back": {"internal": True, "ipam": {"config": [{"subnet": "10.21.0.0/24"}]}},
    },
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.20.0.10", "aliases": ["www", "a.example.org"]}}},
        "app": {"networks": {"front": {"ipv4_address": "10.20.0.20"}, "back": {"ipv4_address": "10.21.0.20"}}},
        "db": {"networks": {"back": {"ipv4_address": "10.21.0.30", "aliases": ["b.example.org", "store"]}}},
        "own": {"networks": {"front": {"ipv4_address": "10.20.0.40"}}, "dns": False},
        "job": {"sandbox": {"pid": 99999}, "networks": {"front": {"aliases": ["batch"]}, "back": {}}},
    },
    "services": {"pay": {"network": "front", "containers": ["web"], "vip": "10.20.0.200", "ports": [80]}},
}
EVERYWHERE = [Listener("tcp", "0.0.0.0", 80, "nginx (process 7)")]


def known(files: Mapping[str, Told] | None = None, containers: Document | None = None) -> Situation:
    """Return what is known of a host where everybody has port 80, with such files, and more to say of containers."""
    host = FakeHost()
    host.files = {**(files or {})}
    host.inside = {name: list(EVERYWHERE) for name in SHOP["containers"]}
    host.nameservers = ("192.0.2.53",)
    more = containers or {}
    document = {**SHOP, "containers": {name: {**one, **more.get(name, {})} for name, one in SHOP["containers"].items()}}
    wanted = manifest(document)
    engine.converge(wanted, host)
    there = situation(engine.plan(wanted, host), wanted)
    everybody = ["", *wanted.containers]
    return replace(there, sockets=host.listeners(everybody), told=host.told(everybody))


def asked(start: str, target: str, there: Situation) -> Answer:
    one = sender(start, there.topology, there.elsewhere)
    return explain(one, aimed(target, one, there), there)


def with_dns(name: str, **words: object) -> Document:
    return {name: {"dns": words}}


# --- hosts files


def hosts(*lines: str, whose: str = "/etc/netns/web/hosts", resolv: str = "nameserver 10.20.0.1\n") -> Told:
    return Told("".join(f"{line}\n" for line in lines), resolv, whose)


def test_what_the_hosts_file_says_is_where_it_goes() -> None:
    there = known({"web": hosts("10.20.0.20 www box", "10.99.0.1 far")})
    assert report.text(asked("web", "box:80", there)) == (
        "web reaches box:80\n"
        "\n"
        "10.20.0.20: yes\n"
        "  web  finds that box is 10.20.0.20 by /etc/netns/web/hosts\n"
        "  web  sends from 10.20.0.10 (eth0, network front) to 10.20.0.20\n"
        "  app  has 10.20.0.20 (eth0, network front)\n"
        "  app  nginx (process 7) listens on port 80/tcp\n"
        "  app  answers 10.20.0.10 by eth0 (network front)\n"
    )
    assert [way.address for way in asked("web", "WWW", there).ways] == ["10.20.0.20"], "and no resolver is asked"
    (way,) = asked("web", "far", there).ways
    assert (way.address, way.hops[0].what) == ("10.99.0.1", "finds that far is 10.99.0.1 by /etc/netns/web/hosts")
    with pytest.raises(Unknown):
        asked("app", "box", there)


def test_of_several_addresses_in_it_one_is_enough() -> None:
    answer = asked("web", "box:80", known({"web": hosts("10.20.0.99 box", "10.20.0.20 box")}))
    assert (answer.verdict, [way.verdict for way in answer.ways]) == ("yes", ["no", "yes"])


@pytest.mark.parametrize(
    ("address", "verdict", "where"),
    [
        ("127.0.1.1", "no", {"web"}),
        ("10.20.0.1", "no", {""}),
        ("10.20.0.20", "yes", {"app"}),
        ("10.20.0.200", "yes", {"web"}),
        ("203.0.113.5", "no", set()),
    ],
)
def test_what_listens_is_looked_at_where_it_leads(address: str, verdict: str, where: set[str]) -> None:
    there = known({"web": hosts(f"{address} box")})
    there = replace(there, sockets={**there.sockets, "web": {"tcp": []}} if address == "127.0.1.1" else there.sockets)
    one = sender("web", there.topology)
    assert concerned(one, aimed("box:80", one, there), there) == where
    assert asked("web", "box:80", there).verdict == verdict


def test_the_host_has_one_too_and_asks_its_own_servers_for_the_rest() -> None:
    there = known({"": hosts("10.20.0.10 www", whose="the host's /etc/hosts", resolv="search corp.example\n")})
    (way,) = asked("host", "www", there).ways
    assert (way.verdict, way.hops[0].what) == ("yes", "finds that www is 10.20.0.10 by the host's /etc/hosts")
    (way,) = asked("host", "store", there).ways
    assert (way.verdict, way.mend) == ("unknown", "ask for db")
    assert "asks its own servers what store.corp.example is" in way.hops[0].what
    assert asked("127.0.0.1", "www", there).verdict == "yes"


def test_one_that_can_not_be_read_may_say_anything() -> None:
    (way,) = asked("web", "www", known({"web": Told(None, None)})).ways
    assert (way.verdict, way.mend) == ("unknown", "ask for web")
    assert "has a hosts file that can't be read from here" in way.hops[0].what


def test_who_has_no_resolver_of_netapplys_has_a_hosts_file_all_the_same() -> None:
    there = known({"own": hosts("10.20.0.10 www")})
    assert [asked("own", name, there).verdict for name in ("www", "a.example.org")] == ["yes", "unknown"]


def test_only_the_files_of_who_asks_are_looked_at() -> None:
    there = known()
    asking = ["web", "host", "outside", "10.20.0.20", "127.0.0.1", "10.20.0.1", "203.0.113.9"]
    ends = [placed(sender(one, there.topology), there) for one in asking]
    assert ends == [{"web"}, {""}, set(), {"app"}, {""}, {""}, set()]


# --- search lists


def test_a_domain_of_the_search_list_makes_a_name_another() -> None:
    there = known(containers=with_dns("db", search=["back", "example.org"]))
    assert [way.address for way in asked("db", "app", there).ways] == ["10.21.0.20", "10.20.0.20"], "no look-up"
    way, *_ = asked("db", "b", known(containers=with_dns("db", search="example.org"))).ways
    assert way.hops[0].what == "finds that b, as b.example.org, is 10.21.0.30 by network back's names"
    way, *_ = asked("app", "store", known(containers=with_dns("app", search="back"))).ways
    assert way.hops[0].what == "finds that store, as store.back, is 10.21.0.30 by network back's names"
    with pytest.raises(Unknown, match="did you mean"):
        asked("app", "stor", there)


def test_the_resolv_conf_that_is_there_says_so_not_the_manifest() -> None:
    told = Told("", "nameserver 10.21.0.1\nsearch example.org\n")
    assert asked("db", "b", known({"db": told}, with_dns("db", search="back"))).verdict == "yes"
    with pytest.raises(Unknown):
        asked("db", "b", known({"db": Told("", "nameserver 10.21.0.1\n")}, with_dns("db", search="example.org")))
    assert asked("db", "b", known({"db": Told("", "nameserver 10.21.0.1\n", domain="example.org")})).verdict == "yes"


def test_what_other_servers_are_asked_first_may_lead_elsewhere() -> None:
    there = known(containers=with_dns("web", search=["corp.example"]))
    (way,) = asked("web", "www", there).ways
    said = "asks its own servers what www.corp.example is, and only if they know none, www is 10.20.0.10"
    assert (way.verdict, way.hops[0].what) == ("unknown", said)
    assert way.mend == "ask for www. with a dot at the end, which keeps `search` away"
    assert asked("web", "www.", there).verdict == "yes"
    assert asked("web", "a.example.org", there).verdict == "yes", "with a dot it is tried as it is first"
    there = known(containers=with_dns("web", search=["corp.example"], options=["ndots:3"]))
    assert asked("web", "a.example.org", there).verdict == "unknown"


def test_who_asks_nobody_is_refused_and_tries_no_more_domains() -> None:
    before = known(containers=with_dns("db", search=["example.net", "example.org"]))
    with pytest.raises(Unknown):
        asked("db", "b", before)
    assert asked("db", "store", before).verdict == "yes", "but it tries the name as it is"
    assert asked("db", "b", known(containers=with_dns("db", search=["back", "example.org"]))).verdict == "yes"


# --- who does not run yet


@pytest.mark.parametrize(
    ("start", "name", "mend"),
    [
        ("web", "batch", "start job"),
        ("app", "job.back", "start job"),
        ("db", "batch", "start job, and attach db to network front"),
        ("host", "batch", "start job, and ask for job"),
        ("own", "batch", "start job, and ask for job"),
    ],
)
def test_the_name_of_who_does_not_run_is_told_with_whose_it_is(start: str, name: str, mend: str) -> None:
    (way,) = asked(start, name, known()).ways
    assert way.verdict == ("unknown" if start == "own" else "no")
    assert "a name of job on network " in way.hops[-1].what
    assert (", answered once that runs: " in way.hops[-1].what) == (start in ("web", "app", "db"))
    assert way.mend.endswith(mend)


def test_who_asks_by_the_name_of_who_does_not_run_hears_whose_it_is() -> None:
    there = known()
    for word in ("batch", "job.front"):
        with pytest.raises(Unknown, match=f"{word} is a name of job, which does not run: "):
            sender(word, there.topology, there.elsewhere, there.waiting)
    assert sender("job", there.topology, there.elsewhere, there.waiting).name == "job"


def test_a_name_that_somebody_else_has_too_leads_there() -> None:
    assert asked("web", "batch", known({"web": hosts("10.20.0.20 batch")})).verdict == "yes"
    networks = {"front": {"ipv4_address": "10.20.0.20", "aliases": ["batch"]}}
    assert asked("web", "batch", known(containers={"app": {"networks": networks}})).verdict == "yes"


def test_the_command_looks_at_files_and_at_who_does_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, path = FakeHost(), tmp_path / "shop.yaml"
    monkeypatch.setattr(commands, "host_factory", lambda: host)
    host.files = {"web": hosts("10.20.0.20 box")}
    path.write_text(str(SHOP).replace("False", "false").replace("True", "true"))
    engine.converge(manifest(SHOP), host)
    assert cli.run(["explain", "web", "box", "-f", str(path)]) == 0
    assert "finds that box is 10.20.0.20 by /etc/netns/web/hosts" in capsys.readouterr().out
    assert cli.run(["explain", "web", "batch", "-f", str(path), "--detailed-exitcode"]) == 2
    assert "to change that: start job" in capsys.readouterr().out
    assert cli.run(["explain", "app", "box", "-f", str(path)]) == 64
