"""What dnsmasq is told: a file of our own, and nothing else of the host's."""

from __future__ import annotations

from collections.abc import Iterator

from ...naming import digest
from ...resources import HALF_MADE, HOST, DnsServer
from . import folder, inside, names_file

TTL = 1
"""Seconds for which a container may keep an answer about another one."""

CACHE = 10_000
"""Entries; the table that names are looked up in grows with it (dnsmasq's cache.c)."""

_MARK = "# netapply: "
_BY_MARK = ("name", "networks")


def file_of(host: int, project: str, name: str) -> str:
    """Return the file of a resolver; networks' names together can be longer than that of a file.

    One whose file is broken or gone is known by that file's name.
    """
    where = inside if name.removeprefix(HALF_MADE).startswith(DnsServer.INSIDE) else resolvers
    if name.startswith(HALF_MADE):
        return f"{where(host, project)}/{name.removeprefix(HALF_MADE).removeprefix(DnsServer.INSIDE)}"
    return f"{where(host, project)}/{digest(name).hex()}.conf"


def resolvers(host: int, project: str) -> str:
    """Return the folder that these files are in."""
    return f"{folder(host, project)}/resolvers"


def text(server: DnsServer, host: int, project: str) -> str:
    """Return the configuration of a resolver."""
    return "".join(f"{line}\n" for line in _lines(server, host, project))


def _lines(server: DnsServer, host: int, project: str) -> Iterator[str]:
    user, group = account()
    yield f"{_MARK}name {server.name}"
    yield f"{_MARK}networks {' '.join(server.networks)}"
    yield from (f"user={user}", f"group={group}", f"port={server.port}", "bind-interfaces", "no-hosts", "pid-file=")
    yield from (f"cache-size={CACHE}", f"local-ttl={TTL}", "dns-forward-max=1000", "local=//", "domain-needed")
    yield from (f"listen-address={address}" for address in server.listen)
    yield from (f"addn-hosts={names_file(host, project, network)}" for network in server.networks)
    yield from (f"local=/{domain}/" for domain in server.local)
    yield from (f"rev-server={subnet}" for subnet in server.reverse)
    if server.upstream == DnsServer.HOSTS_OWN:
        yield from (f"resolv-file={path}" for path in server.upstream)
    else:
        yield "no-resolv"
        yield from (f"server={address}" for address in server.upstream)


def parsed(content: str) -> DnsServer | None:
    """Return the resolver that a configuration is of, as far as it says; None where it says none. Of one in a sandbox
    that is where it was to be."""
    marks: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for line in content.splitlines():
        if line.startswith(_MARK):
            key, _, value = line.removeprefix(_MARK).partition(" ")
            marks[key] = value
        else:
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    port = found.get("port", [""])[0]
    if not all(marks.get(key) for key in _BY_MARK) or not port.isdecimal():
        return None
    return DnsServer(
        name=marks["name"],
        networks=tuple(marks["networks"].split(" ")),
        listen=tuple(found.get("listen-address", ())),
        port=int(port),
        local=tuple(one.strip("/") for one in found.get("local", ()) if one != "//"),
        reverse=tuple(found.get("rev-server", ())),
        upstream=tuple(found.get("resolv-file", ())) or tuple(found.get("server", ())),
        sandbox=marks["name"].removeprefix(DnsServer.INSIDE) if marks["name"].startswith(DnsServer.INSIDE) else HOST,
    )


def account() -> tuple[str, str]:
    """Return the user and the group that a resolver works as once it listens: one with no rights."""
    import grp
    import pwd

    for user in ("dnsmasq", "nobody"):
        try:
            entry = pwd.getpwnam(user)
            return user, grp.getgrgid(entry.pw_gid).gr_name
        except KeyError:
            continue
    return "root", "root"
