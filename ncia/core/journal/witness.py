"""The witness: it remembers the newest head of each site's log, and cosigns whatever extends it. It never goes back.

It holds heads alone, and those entries that somebody asked it to keep because an irreversible act waits for them: no
citizen's data. Its memory is one file per site, a signed note as anybody can read it, on disk before the cosignature
is handed out. The request and its answers are those of https://c2sp.org/tlog-witness.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, Keyring, Signature, checkpoint_from_note, signed_by
from ncia.core.journal.cosign import Cosigner
from ncia.core.journal.tree import HASH_BYTES, verify_consistency

PROOF_HASHES_MAX = 63
NOTE_SUFFIX = ".note"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Ask:
    """The request to cosign ``head``: ``proof`` shows that it extends the head of size ``old``, cosigned last."""

    old: int
    proof: tuple[bytes, ...]
    head: Checkpoint


class Conflict(Refusal):
    """The asker does not know what was cosigned last; ``size`` is what it was."""

    def __init__(self, what: str, size: int, why: str) -> None:
        super().__init__("witness.conflict", what, why, "ask again from that size")
        self.size = size


class Witness:
    """Vouches for the logs of those sites whose keys it holds. Safe to use from many threads."""

    def __init__(self, folder: Path, cosigner: Cosigner, keys: Keyring, clock: Clock) -> None:
        self._folder = folder
        self._cosigner = cosigner
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._heads = {site: _read_note(self._path(site), site) for site in keys if self._path(site).exists()}

    def head(self, site: SiteId) -> Checkpoint | None:
        """The newest head that was cosigned here, with the cosignature; None where none ever was."""
        return self._heads.get(site)

    def add(self, ask: Ask) -> Signature:
        """Cosign a head that extends the last one; remembered for good before it is answered.

        :class:`Conflict` where ``ask.old`` is not the size cosigned last, :class:`Refusal` where the head is not its
        site's or is no extension: then two histories of one log exist.
        """
        head, what = ask.head, f"cosign {ask.head.site}'s log at {ask.head.size}"
        if head.site not in self._keys or not signed_by(head, self._keys):
            why = "its head is not signed with the key that the witness knows of that site"
            raise Refusal("witness.forged-head", what, why, "compare peer_keys.yaml at all sites")
        with self._lock:
            last = self._heads.get(head.site)
            size = last.size if last else 0
            if ask.old != size:
                raise Conflict(what, size, f"the asker begins from {ask.old}, and {size} was cosigned last")
            if head.size < size or (last and not _extends(last, ask)):
                _log.error("witness.refused", site=head.site, size=head.size, root=head.root.hex(), cosigned=size)
                raise _no_extension(what, last, head)
            line = self._cosigner.cosign(head, self._clock.now())
            cosigned = Checkpoint(head.site, head.size, head.root, head.signature, (line,))
            write_durably(self._path(head.site), cosigned.note())
            self._heads[head.site] = cosigned
        return line

    def _path(self, site: SiteId) -> Path:
        return self._folder / f"{site}{NOTE_SUFFIX}"


def ask_text(ask: Ask) -> str:
    """The request's body: ``old N``, the proof's hashes, a blank line, the signed note."""
    proof = "".join(f"{base64.b64encode(each).decode()}\n" for each in ask.proof)
    return f"old {ask.old}\n{proof}\n{ask.head.note()}"


def read_ask(text: str) -> Ask:
    """The inverse; raises :class:`NciaError` where it is not one."""
    told, blank, note = text.partition("\n\n")
    first, *hashes = told.split("\n")
    try:
        word, size = first.split(" ")
        proof = tuple(base64.b64decode(each, validate=True) for each in hashes)
        old = int(size)
    except (ValueError, binascii.Error) as error:
        raise _malformed(str(error)) from error
    if not blank or word != "old" or size != str(old) or old < 0:
        raise _malformed("it does not begin with 'old N'")
    if len(proof) > PROOF_HASHES_MAX or any(len(each) != HASH_BYTES for each in proof):
        raise _malformed(f"a proof has at most {PROOF_HASHES_MAX} hashes of {HASH_BYTES} bytes")
    return Ask(old, proof, checkpoint_from_note(note))


def write_durably(path: Path, text: str) -> None:
    """The file holds either what it held before or all of ``text``, whatever happens from here on."""
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _extends(last: Checkpoint, ask: Ask) -> bool:
    proof: Sequence[bytes] = ask.proof
    return verify_consistency(last.size, ask.head.size, last.root, ask.head.root, proof)


def _no_extension(what: str, last: Checkpoint | None, head: Checkpoint) -> Refusal:
    before = f"size {last.size}, root {last.root.hex()[:16]}…" if last else "nothing"
    why = f"root {head.root.hex()[:16]}… is not shown to extend what was cosigned last: {before}"
    return Refusal("witness.no-extension", what, why, "`ncia journal verify` that log with the witness' note")


def _read_note(path: Path, site: SiteId) -> Checkpoint:
    """What is there and cannot be read is an error: whoever forgets may cosign a fork."""
    what = f"remember what was cosigned of {site}'s log"
    try:
        head = checkpoint_from_note(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, NciaError) as error:
        hint = f"bring {path} back from a copy that is not older"
        raise NciaError("witness.damaged", what, f"{path}: {error}", hint) from error
    if head.site != site:
        raise NciaError("witness.damaged", what, f"{path} is of {head.site}", "bring the file back")
    return head


def _malformed(why: str) -> NciaError:
    return NciaError("witness.bad-request", "read a request to cosign", why, "https://c2sp.org/tlog-witness")
