"""Resources, and what changes in them, in the words of whoever wrote the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..plan import Change, Create, Delete, Update
from ..resources import (
    HOST,
    IFB,
    NFT,
    SHAPED,
    UPLINK,
    VLANS,
    VTEP,
    Accepts,
    Address,
    BridgeVlan,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Port,
    ResolvConf,
    Resource,
    Route,
    Shaper,
    Sysctl,
    Wireguard,
    WireguardPeer,
    differences,
    must_replace,
    value_of,
)
from .entries import Entry, resource_of

_LABELS = {
    "name": "name",
    "peer.name": "interface",
    "mtu": "mtu",
    "peer.mtu": "mtu",
    "mac": "mac",
    "peer.mac": "mac",
    "master": "bridge",
    "parent": "parent",
    "kind": "kind",
    "ipv6": "IPv6 of its own making",
    "peer.ipv6": "IPv6 of its own making",
    "peer.sandbox": "the container",
    "sandbox": "the container",
    "reference": "namespace",
}
_STATES = {"up": "link", "peer.up": "inner end", "loopback_up": "lo"}


def title(entry: Entry) -> str:
    """Return what the entry is about, on one line: what it will be if it is made, what it was if it goes."""
    head = resource_of(entry.head) if entry.head else None
    match entry.thing.kind:
        case "endpoint":
            name = f"endpoint {entry.thing.container}"
        case "network":
            name = f"{head.kind} {head.name}" if isinstance(head, Link) else f"network {entry.thing.network}"
            if isinstance(head, Link) and head.path.endswith("#host"):
                name = f"host access {head.name}"
        case "container":
            name = place(entry.thing.container or HOST)
        case "services":
            from .services import title as of_services

            return of_services(entry)
        case "leftover":
            name = "what an interrupted run left behind"
        case "other":
            name = brief(head) if head else entry.thing.name
        case "tunnel" | "names" | "resolver" if head:
            name = brief(head)
        case kind:
            name = f"{kind} {entry.thing.name}"
    if isinstance(entry.head, Update) and isinstance(head, Sysctl):
        more = f"{value_of(entry.head.before, 'value')} → {head.value}"
    else:
        more = _content(entry, head) if entry.action != "change" else ""
    return f"{name}: {more}" if more else name


def place(sandbox: str) -> str:
    """Return what a sandbox is: the host, a container, or a namespace that belongs to none of the manifest's."""
    if sandbox == HOST:
        return "the host"
    return f"namespace {sandbox.removeprefix('@')}" if sandbox.startswith("@") else f"container {sandbox}"


def _content(entry: Entry, head: Resource | None) -> str:
    """Return what is made or taken away with the entry, in short."""
    match head:
        case Link():
            made = [change.after for change in entry.changes if isinstance(change, Create)]
            inner = [] if entry.thing.kind in ("network", "other", "tunnel") else [head.inner[1]]
            addresses = [one.address for one in made if isinstance(one, Address) and one.link == head.path]
            defaults = [one for one in made if isinstance(one, Route) and one.destination in _DEFAULTS]
            ways = list(dict.fromkeys(one.via or "the link" for one in defaults))
            words = [*inner, *addresses, *(["via", *ways] if ways else [])]
            if entry.thing.kind == "other" and head.parent:
                words.append(f"on {_parent(head.parent)}")
            if entry.thing.kind in ("network", "other", "tunnel") and head.mtu and entry.action != "remove":
                words += ["mtu", str(head.mtu)]
            if entry.thing.kind == "endpoint" or head.path.endswith("#host"):
                words.append(f"({head.kind} {head.name})" if head.peer else f"({head.kind} on {_parent(head.parent)})")
            return " ".join(words)
        case Netns():
            return brief(head) if not head.sandbox.startswith("@") else ""
        case Delegated():
            from .requests import asked

            words = [head.interface, *head.addresses] if head.interface else []
            return " ".join([*words, f"({asked(head)})"] if words else [asked(head)])
        case NftTable(text=text):
            return _lines(text)
        case Sysctl(value=value):
            return value
        case Accepts(rules=rules):
            return ", ".join(rules)
        case DnsHosts() | DnsServer():
            from . import names

            return names.content(head)
        case _:
            return ""


_DEFAULTS = ("0.0.0.0/0", "::/0")


def _lines(text: str) -> str:
    number = len(text.splitlines())
    return f"{number} line{'s' * (number != 1)}"


def details(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield lines below the title, each with the action that it stands for ("" for a remark), the nft text aside."""
    if entry.thing.kind == "services":
        from .services import lines as of_services

        yield from of_services(entry)
        return
    deleted = {change.key: change.before for change in entry.changes if isinstance(change, Delete)}
    told: set[str] = set()
    for change in entry.changes:
        lines: Iterable[str] = ()
        if isinstance(change, Update) and not _is_told_below(change.after):
            lines = field_changes(change.before, change.after, change.fields)
            if isinstance(change.after, DnsHosts | DnsServer | ResolvConf):
                from . import names

                lines = names.changed(change)
            if isinstance(change.after, Wireguard | WireguardPeer):
                from . import tunnels

                lines = tunnels.changed(change)
        elif isinstance(change, Create) and (before := deleted.get(change.key)) and change is entry.head:
            changed = differences(change.after, before)
            lines = field_changes(before, change.after, ("kind",) if "kind" in changed else changed)  # all else follows
        if isinstance(change, Update) and isinstance(change.after, Port):
            lines = [f"{brief(change.after)}: {line}" for line in lines]
        for line in lines:
            if line not in told:  # both ends of a veth pair have an MTU
                told.add(line)
                yield "change", line
    if entry.thing.kind == "firewall" and entry.head:
        from . import publishing

        yield from publishing.differing(entry.head)
    yield from _carried(entry)
    if entry.action == "replace" and isinstance(entry.head, Create):
        before = deleted.get(entry.head.key)
        yield "", ": ".join(filter(None, ["replaced, which interrupts its traffic", _reason(entry.head, before)]))
    elif entry.disruptive and entry.action == "change":
        yield "", ": ".join(filter(None, ["interrupts its traffic", _put_back(entry)]))


def _put_back(entry: Entry) -> str:
    """Return why a port is put into its bridge again, though it is in the right one."""
    match entry.head:
        case Update(before=Link(master=str(old)), after=Link(master=str(new)), fields=fields) if old == new:
            return f"the bridge of network {new} is replaced" if "master" in fields else ""
        case _:
            return ""


def _reason(change: Create, before: Resource | None) -> str:
    """Return why something is replaced, with the words of the lines above for the fields."""
    fields = must_replace(change.after, before, differences(change.after, before)) if before else ()
    if before is None and not change.replaces:
        return "another driver makes it"
    if not fields or "peer" in fields:
        return change.reason
    if isinstance(before, Delegated):
        return "a plugin can't change what it has made, and may give other addresses" if before.healthy else ""
    return f"{', '.join(_label(name) for name in fields)} can't be changed in place"


def field_changes(before: Resource, after: Resource, fields: Iterable[str]) -> Iterator[str]:
    """Yield "mtu 1500 → 1400" for each field, named as `resources.differences` does."""
    for name in fields:
        if isinstance(after, NftTable | Sysctl):
            continue
        if isinstance(before, Accepts) and isinstance(after, Accepts):
            yield from (f"+ {rule}" for rule in after.rules if rule not in before.rules)
            yield from (f"- {rule}" for rule in before.rules if rule not in after.rules)
            continue
        if name == "peer":
            yield "its inner end is lost"
            continue
        if isinstance(before, Delegated) and isinstance(after, Delegated) and name in ("request", "tags", "healthy"):
            from .requests import differing

            yield from differing(name, before, after)
            continue
        old, new = value_of(before, name), value_of(after, name)
        if name == "tags":
            old, new = _plain_tags(old), _plain_tags(new)
        if old == new:
            continue  # set again, since something else that changes resets it
        if name in _STATES:
            yield f"{_STATES[name]} {_state(old)} → {_state(new)}"
        elif name in ("sandbox", "peer.sandbox"):
            yield f"moves from {place(str(old))} to {place(str(new))}"
        elif name == "parent" and isinstance(before, Link) and isinstance(after, Link):
            yield f"parent {_parent(before.parent)} → {_parent(after.parent)}"
        else:
            yield f"{_label(name)} {_value(old)} → {_value(new)}"


def _plain_tags(tags: object) -> tuple[str, ...]:
    """Return the tags without those that other lines say: of VLANs, uplinks and bandwidth."""
    told = [str(tag) for tag in tags if tag not in (NFT, SHAPED, VLANS)] if isinstance(tags, tuple) else []
    return tuple(tag for tag in told if not any(Port.tagged([tag])))


def _label(name: str) -> str:
    head, _, rest = name.partition(".")
    match head:
        case "options":
            return rest
        case "port":
            return f"port {rest}"
        case "sysctls":
            return f"net.{rest}"
        case _:
            return _LABELS.get(name, name)


def _state(value: object) -> str:
    return "up" if value else "down"


def _value(value: object) -> str:
    match value:
        case None | "":
            return "none"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value).removeprefix("/")


def _plain(reference: str | None) -> str:
    return (reference or "nothing").removeprefix("/")


def _parent(reference: str | None) -> str:
    """Return what a link stands on: a link of the host, or what a network of the project makes."""
    if not reference or reference.startswith("/"):
        return _plain(reference)
    path, _, further = reference.partition("#")
    return f"network {path}" if path else further


def _carried(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the addresses, routes and further links that change, where the title does not say it all."""
    whole = entry.action != "change"
    vlans: list[Change] = []
    ways: list[Change] = []
    queues: list[Change] = []
    readdressed = {} if whole else dict(_readdressed(entry))
    for change in entry.changes:
        resource = resource_of(change)
        if change is not entry.head and _is_about_bandwidth(resource):
            queues.append(change)
            continue
        if change is entry.head or isinstance(resource, NftTable | Sysctl) or _is_in_title(change, whole):
            continue
        if isinstance(resource, BridgeVlan):
            vlans.append(change)
            continue
        if isinstance(resource, FdbEntry | Neighbour) or (isinstance(resource, Route) and resource.onlink):
            ways.append(change)
            continue
        if (address := readdressed.get(resource.key)) is not None:
            if isinstance(change, Create):
                yield "change", f"address {address} → {brief(resource).removeprefix('address ')}"
            continue
        match change:
            case Update(before=Route() as before, after=Route() as after):
                yield "change", f"route {_destination(after)}: {_way(before)} → {_way(after)}"
            case Create(after=Port()):
                yield "add", brief(resource)
            case Delete(before=Port()):
                yield "remove", brief(resource)
            case Create(replaces=True, reason=reason):
                yield "replace", f"{brief(resource)} ({reason})"
            case Create():
                yield "add", brief(resource)
            case Delete(replaced=False):
                yield "remove", brief(resource)
            case _:
                pass
    if vlans:
        yield from _vlans(vlans)
    if ways:
        from .forwarding import folded

        yield from folded(ways)
    if queues and entry.action in ("add", "change"):
        from . import bandwidth

        yield from bandwidth.folded(queues)


def _is_told_below(resource: Resource) -> bool:
    """Whether `_carried` says what changes in it."""
    return isinstance(resource, Route | BridgeVlan | FdbEntry | Neighbour) or _is_about_bandwidth(resource)


def _is_about_bandwidth(resource: Resource) -> bool:
    return isinstance(resource, Shaper) or (isinstance(resource, Link) and resource.path.endswith(IFB))


def _vlans(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """Yield the VLANs that come, go, and change how they are; ranges of them on one line, each port's by itself."""
    groups: dict[tuple[str, str, str], list[BridgeVlan]] = {}
    for change in changes:
        action = {Create: "add", Delete: "remove"}.get(type(change), "change")
        one = resource_of(change)
        if isinstance(one, BridgeVlan) and not (isinstance(change, Delete) and change.replaced):
            groups.setdefault((action, one.link, brief(one).removeprefix(f"VLAN {one.vid}")), []).append(one)
    for (action, link, how), found in groups.items():
        whose = " on the uplink" if link.endswith(UPLINK) else ""
        yield action, f"{vlan_words(found)}{' →' * (action == 'change')}{how}{whose}"


def vlan_words(vlans: Iterable[BridgeVlan]) -> str:
    """Return the numbers of VLANs as "VLAN 10, 20-30"."""
    from ..lowering.vlans import runs, words

    return f"VLAN {words(runs(vlans))}"


def _readdressed(entry: Entry) -> Iterator[tuple[Key, str]]:
    """Yield the keys of both addresses, and the one before, where one of a family takes the place of another."""
    for family in (False, True):
        olds = [
            change.before
            for change in entry.changes
            if isinstance(change, Delete) and isinstance(change.before, Address) and not change.replaced
        ]
        news = [
            change.after
            for change in entry.changes
            if isinstance(change, Create) and isinstance(change.after, Address) and not change.replaces
        ]
        olds = [one for one in olds if (":" in one.address) is family]
        news = [one for one in news if (":" in one.address) is family]
        if len(olds) == len(news) == 1:
            yield from ((one.key, olds[0].address) for one in (*olds, *news))


def _is_in_title(change: Change, whole: bool) -> bool:
    """Whether the title of an entry that is made, removed or replaced as a `whole` names it, or need not."""
    if not whole:
        return False
    match change:
        case Create(after=Address() | ResolvConf()):
            return True
        case Create(after=Route(destination=destination, type="unicast")):
            return destination in _DEFAULTS
        case Create() | Delete(before=Port()):  # a link of somebody else's
            return False
        case _:
            return True


def brief(resource: Resource) -> str:
    """Return a resource in a few words."""
    match resource:
        case Address(address=address):
            return f"address {address}"
        case Route():
            return f"route {_destination(resource)} {_way(resource)}"
        case Link(kind=kind, name=name):
            return f"{kind} {name}"
        case Netns(reference=reference):
            return f"namespace {reference.removeprefix('netns:')}"
        case FdbEntry(mac=mac, via=via):
            return f"frames to {'everybody' if mac == FdbEntry.FLOOD else mac} via {via}"
        case Neighbour(address=address, mac=mac):
            return f"neighbour {address} is {mac}"
        case Port(name=name):
            return f"uplink {name}"
        case BridgeVlan(vid=vid, pvid=pvid, untagged=untagged):
            return f"VLAN {vid}{' pvid' if pvid else ''} {'untagged' if untagged else 'tagged'}"
        case Wireguard() | WireguardPeer():
            from . import tunnels

            return tunnels.brief(resource)
        case Shaper():
            from . import bandwidth

            return bandwidth.brief(resource)
        case Delegated(protocol=protocol, path=path):
            return f"{protocol} {path}"
        case NftTable(family=family, name=name):
            return f"firewall {family} {name}"
        case Accepts(name=name):
            return f"firewall {name}"
        case Sysctl(name=name, value=value):
            return f"setting {name} = {value}"
        case DnsHosts() | DnsServer() | ResolvConf():
            from . import names

            return names.brief(resource)


def _destination(route: Route) -> str:
    return "default" if route.destination in _DEFAULTS else route.destination


def _way(route: Route) -> str:
    on_link = "to virtual IPs" if (route.link or "").endswith(VTEP) else "on the link"  # nobody else is there
    words = [route.type] if route.type != "unicast" else [f"via {route.via}" if route.via else on_link]
    if route.metric not in (0, 1024):
        words.append(f"metric {route.metric}")
    return " ".join(words)


def in_full(resource: Resource) -> str:
    """Return a resource with all that the kernel is asked for, on one line."""
    match resource:
        case Link(peer=peer):
            words = [f"{resource.kind} {resource.name}", _inside(resource.sandbox), *_settings(resource, "mtu", "mac")]
            if resource.master:
                words.append(f"in bridge {_plain(resource.master)}")
            if resource.parent:
                words.append(f"on {_parent(resource.parent)}")
            words += [f"{name} {_value(value)}" for name, value in {**resource.options, **resource.port}.items()]
            if peer:
                words += ["; inner end", peer.name, _inside(peer.sandbox), *_settings(peer, "mtu", "mac")]
            words += [f"net.{name}={value}" for name, value in resource.sysctls.items()]
            return " ".join(filter(None, words)).replace(" ;", ";")
        case Delegated(request=request):
            return f"{brief(resource)} {request}"
        case _:
            return brief(resource)


def _inside(sandbox: str) -> str:
    return f"in {sandbox}" if sandbox != HOST else ""


def _settings(end: object, *names: str) -> list[str]:
    return [f"{name} {value}" for name in names if (value := getattr(end, name)) is not None]
