"""What a bridge network has to do with the host's other links and addresses: the options for it, and their rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..manifest.model import NetworkSpec
from ..networks import entries
from ..resources import Option

_LINK = {
    "pattern": r"^[^\s/:;]{1,15}$",
    "patternErrorMessage": "not the name of a link, which is 1 to 15 bytes long, without spaces, /, : and ;",
}

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "snat_address": {
        "type": ["array", "string"],
        "maxItems": 2,
        "uniqueItems": True,
        "items": {"type": "string"},
        "description": "The source of connections that leave the host, an address of the host's or one for each "
        "family, in place of the one of the link by which they leave (gateway mode nat).",
    },
    "trusted_interfaces": {
        "type": ["array", "string"],
        "uniqueItems": True,
        **_LINK,
        "items": {"type": "string", **_LINK},
        "description": "Links of the host by which connections to containers' addresses come in although the mode is "
        "nat; they need not be there.",
    },
    "host_binding": {
        "type": ["array", "string"],
        "maxItems": 2,
        "uniqueItems": True,
        "items": {"type": "string"},
        "description": "The host's address, or one for each family, that ports of the network's containers are "
        "published on where they say no host_ip.",
    },
    "uplink": {
        "type": "string",
        **_LINK,
        "not": {"enum": ["lo", ".", ".."]},
        "description": "A link of the host to put into the bridge, such as a network card; it must carry no addresses, "
        "and is left as it was found.",
    },
}


class Fault(NamedTuple):
    """What is wrong with an option of a network or, if `container` is given, of its endpoint: which, what, the mend."""

    option: str
    what: str
    mend: str
    container: str = ""


def words(options: Mapping[str, Option], name: str) -> tuple[str, ...]:
    """Return the values of an option that is one text or a list of texts."""
    return tuple(map(str, entries(options.get(name))))


def source(options: Mapping[str, Option], family: int) -> str | None:
    """Return the address that replaces sources of a family (4 or 6), in canonical spelling; None: masquerade."""
    for spelled in words(options, "snat_address"):
        if (":" in spelled) == (family == 6):
            from ipaddress import ip_address

            return str(ip_address(spelled))
    return None


def faults(network: NetworkSpec) -> Iterator[Fault]:
    """Yield what the schemas can't say."""
    told = network.driver_opts
    for option in OPTIONS.keys() & told.keys():
        if network.external:
            what = f"network {network.name} is external, so that its {option} is not netapply's to say"
            yield Fault(option, what, "remove it")
        elif network.internal:
            what = f"network {network.name} is internal, with no way out or in, and {option} would be one"
            yield Fault(option, what, "remove one of the two")
    yield from _sources(network)
    yield from _bindings(network)


def _bindings(network: NetworkSpec) -> Iterator[Fault]:
    seen: set[int] = set()
    for spelled in words(network.driver_opts, "host_binding"):
        family = _family(spelled)
        if family is None:
            yield Fault("host_binding", f"host_binding is {spelled[:60]!r}, which is not an address", "")
        elif family in seen:
            yield Fault("host_binding", f"host_binding has two IPv{family} addresses", "give one for each family")
        elif spelled == "::1":
            what = "nothing can be published on ::1: the kernel does not translate what is sent to it"
            yield Fault("host_binding", what, "use 127.0.0.1")
        else:
            seen.add(family)


def _sources(network: NetworkSpec) -> Iterator[Fault]:
    told = network.driver_opts
    seen: set[int] = set()
    for spelled in words(told, "snat_address"):
        family = _family(spelled)
        if family is None:
            mend = "an address has no prefix length here" if "/" in spelled else ""
            yield Fault("snat_address", f"snat_address is {spelled[:60]!r}, which is not an address", mend)
            continue
        if family in seen:
            yield Fault("snat_address", f"snat_address has two IPv{family} addresses", "give one for each family")
        seen.add(family)
        mode = told.get(f"gateway_mode_ipv{family}", told.get("gateway_mode", "nat"))
        if mode != "nat" or told.get("masquerade", True) is False:
            reason = f"gateway_mode {mode}" if mode != "nat" else "masquerade: false"
            what = f"snat_address {spelled} replaces no address with {reason}"
            yield Fault("snat_address", what, "remove one of the two")
        elif not (network.enable_ipv4 if family == 4 else network.enable_ipv6):
            what = f"snat_address {spelled} is IPv{family}, which network {network.name} does not have"
            yield Fault("snat_address", what, f"set enable_ipv{family}: true, or remove it")


def _family(spelled: str) -> int | None:
    from ipaddress import ip_address

    try:
        return ip_address(spelled).version
    except ValueError:
        return None
