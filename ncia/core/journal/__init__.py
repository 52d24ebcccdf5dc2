"""The journal: what happened, in two signed, append-only logs.

``entries`` is the vocabulary, ``entry`` one entry, ``canonical`` its one spelling, ``tree`` the Merkle tree over them,
``checkpoint`` the signed head, ``store`` the tables, ``log`` the journal itself, ``merge`` the causal order, ``peers``
the pulling of the peer's log (``peer_http`` over HTTP), ``reader`` what the API offers, ``verify`` the offline judge.
"""

from ncia.core.journal.checkpoint import Checkpoint, Signer, checkpoint_from_note, load_keyring, load_signer
from ncia.core.journal.entry import Entry, entry_from_wire, entry_to_wire
from ncia.core.journal.log import Journal, open_journal

__all__ = [
    "Checkpoint",
    "Entry",
    "Journal",
    "Signer",
    "checkpoint_from_note",
    "entry_from_wire",
    "entry_to_wire",
    "load_keyring",
    "load_signer",
    "open_journal",
]
