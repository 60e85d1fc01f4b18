"""Everything random that the tests use, in one place: states, manifests, pairs of them, foreign objects.

A new option of a manifest or a field of a resource joins it here, and all properties hold for it from then on.
"""

from .documents import Document, documents, manifest, pairs, pinned, unprotected
from .hosts import CONTAINERS, NETWORKS, PARENTS, Foreign, Guests, canaries, foreign, guests, new_host, nft_table
from .states import state_pairs, states

__all__ = [
    "CONTAINERS",
    "NETWORKS",
    "PARENTS",
    "Document",
    "Foreign",
    "Guests",
    "canaries",
    "documents",
    "foreign",
    "guests",
    "manifest",
    "new_host",
    "nft_table",
    "pairs",
    "pinned",
    "state_pairs",
    "states",
    "unprotected",
]
