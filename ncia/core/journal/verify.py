"""The offline judge of journals: which entries are not what their site signed.

Every fault is named by site, number and kind:

========== ==========================================================================================================
flipped    an entry was altered: it does not have the hash that was stored or signed for it
dropped    an entry that was signed, or that the peer had seen, is not there
reordered  an entry lies in another's place
forked     the site signed two histories: two copies of its log, or a copy and a head that somebody cosigned, differ
forged     a head or a cosignature is not signed with the key of whom it names, or cannot be read
unsigned   entries that no signed head covers
malformed  an entry hashes as signed, and this release cannot read it
disordered an entry claims to have seen less of the peer's log than one before it
tree       a stored subtree hash is wrong: proofs made from it would fail
========== ==========================================================================================================

Without a site's public key nothing of its log can be held to be checked: that is a fault too (``no-key``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.canonical import canonical, parse
from ncia.core.journal.checkpoint import Checkpoint, Keyring, checkpoint_from_note, signed_by
from ncia.core.journal.copies import Copy, Row
from ncia.core.journal.cosign import Vouch, forged, newest, vouches
from ncia.core.journal.entry import entry_from_text
from ncia.core.journal.tree import Tree, leaf_hash

LISTED_MAX = 100  # findings of one kind in one copy; the rest are counted in one sentence


@dataclass(frozen=True)
class Finding:
    kind: str
    site: SiteId
    number: int
    file: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.site} {self.number} in {self.file}: {self.sentence}"


@dataclass(frozen=True)
class Checked:
    """One copy that was looked at: how much of it, the root that its newest good head signs, and by each cosigner
    the newest such head that it vouches for."""

    file: str
    site: SiteId
    entries: int
    heads: int
    signed_size: int
    root: bytes
    vouched: tuple[Vouch, ...] = ()


@dataclass(frozen=True)
class Verdict:
    checked: tuple[Checked, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        return bool(self.checked) and not self.findings


@dataclass
class _Judged:
    """What is known of one copy so far. ``leaves`` are the claimed leaf hashes by number."""

    copy: Copy
    findings: list[Finding] = field(default_factory=list)
    leaves: dict[int, bytes] = field(default_factory=dict)
    peer_seen: dict[int, int] = field(default_factory=dict)
    heads: list[Checkpoint] = field(default_factory=list)  # readable and signed, by size
    refuted: range = range(0)  # what a signed head does not agree with
    signed_size: int = 0
    root: bytes = b""
    vouched: list[Vouch] = field(default_factory=list)  # of heads that agree with the entries

    def find(self, kind: str, number: int, sentence: str) -> None:
        self.findings.append(Finding(kind, self.copy.site, number, self.copy.file, sentence))

    def faulty(self) -> set[int]:
        return {finding.number for finding in self.findings}

    def size(self) -> int:
        return max(self.leaves, default=-1) + 1

    def whole(self) -> int:
        """How many leaves there are without a gap from 0 on."""
        count = 0
        while count in self.leaves:
            count += 1
        return count


def verify(copies: Sequence[Copy], keys: Keyring) -> Verdict:
    """Judge every copy by itself, then the copies of a log against each other and the logs against each other."""
    judged = [_judge(copy, keys) for copy in copies]
    for each in judged:
        _judge_seen_elsewhere(each, judged)
    for place, one in enumerate(judged):
        for other in judged[place + 1 :]:
            if one.copy.site == other.copy.site:
                _compare(one, other)
    told = {each.copy.site for each in judged if any(finding.kind == "forked" for finding in each.findings)}
    for one in (each for each in judged if each.copy.site not in told):
        _judge_against_heads_elsewhere(one, [other for other in judged if other is not one], keys)
    checked = tuple(_checked(each) for each in judged)
    found = [finding for each in judged for finding in _listed(each.findings)]
    return Verdict(checked, tuple(found))


def _checked(judged: _Judged) -> Checked:
    copy, vouched = judged.copy, newest(judged.vouched)
    told = tuple(vouched[by] for by in sorted(vouched))
    return Checked(copy.file, copy.site, len(copy.rows), len(judged.heads), judged.signed_size, judged.root, told)


def _judge(copy: Copy, keys: Keyring) -> _Judged:
    judged = _Judged(copy)
    _judge_rows(judged)
    _judge_gaps(judged)
    _judge_peer_seen(judged)
    _judge_signatures(judged, keys)
    _judge_heads(judged, keys)
    _judge_nodes(judged)
    judged.findings.sort(key=lambda finding: finding.number)
    return judged


def _judge_rows(judged: _Judged) -> None:
    claimed = {row.leaf_hash for row in judged.copy.rows}
    highest = -1
    for row in judged.copy.rows:
        highest = max(highest, _judge_row(judged, row, highest, claimed))


def _judge_row(judged: _Judged, row: Row, highest: int, claimed: set[bytes | None]) -> int:
    """Judge one row, and return the number that it stands for."""
    inner, seen = _read_number(row)
    actual = leaf_hash(row.text.encode("utf-8", "surrogatepass"))
    if inner is None or actual != row.leaf_hash:
        if inner is not None and row.number not in (None, inner) and actual in claimed:
            return _moved(judged, row, inner, actual)
        number = _meant(judged, row, inner, highest + 1)
        judged.find("flipped", number, f"the entry at {row.place} does not have the hash that stands beside it")
        judged.leaves.setdefault(number, row.leaf_hash or actual)
        return number
    if row.number not in (None, inner):
        return _moved(judged, row, inner, actual)
    if inner in judged.leaves:
        kind = "reordered" if judged.leaves[inner] == actual else "forked"
        judged.find(kind, inner, f"a second entry of that number is at {row.place}")
        return inner
    if inner < highest:
        judged.find("reordered", inner, f"it comes after entry {highest}, at {row.place}")
    judged.leaves[inner] = actual
    _judge_readable(judged, row, inner, seen)
    return inner


def _moved(judged: _Judged, row: Row, inner: int, actual: bytes) -> int:
    """A whole entry in another's row; its own place is known from what it says."""
    number = inner if row.number is None else row.number
    judged.find("reordered", number, f"{row.place} holds entry {inner}")
    judged.leaves.setdefault(inner, actual)
    return number


def _meant(judged: _Judged, row: Row, inner: int | None, expected: int) -> int:
    """The number of an altered entry: where it lies, or what it says unless just that was altered."""
    if row.number is not None:
        return row.number
    if inner is None or inner in judged.leaves:
        return expected
    restored = canonical({**parse(row.text), "number": expected})
    return expected if leaf_hash(restored) == row.leaf_hash else inner


def _read_number(row: Row) -> tuple[int | None, int]:
    """The number that the entry itself tells, and what its writer had seen of the peer's log."""
    try:
        fields = parse(row.text)
        number, seen = fields["number"], fields["peer_seen"]
    except (NciaError, KeyError, TypeError):
        return None, 0
    return (number, seen) if type(number) is int and number >= 0 and type(seen) is int else (None, 0)


def _judge_readable(judged: _Judged, row: Row, number: int, seen: int) -> None:
    try:
        entry = entry_from_text(row.text)
    except NciaError as error:
        judged.find("malformed", number, error.why)
        return
    if entry.site != judged.copy.site:
        judged.find("flipped", number, f"it says that it belongs to the log of {entry.site}")
    judged.peer_seen[number] = seen


def _judge_gaps(judged: _Judged) -> None:
    last = -1
    for number in sorted(judged.leaves):
        if number > last + 1:
            _drop(judged, last + 1, number, "the entries before and after are there")
        last = number


def _drop(judged: _Judged, start: int, end: int, why: str) -> None:
    which = f"entry {start} is" if end == start + 1 else f"entries {start}..{end - 1} are"
    judged.find("dropped", start, f"{which} missing: {why}")


def _judge_peer_seen(judged: _Judged) -> None:
    highest = 0
    for number in sorted(judged.peer_seen):
        seen = judged.peer_seen[number]
        if seen < highest:
            judged.find("disordered", number, f"it had seen {seen} of the peer's entries, one before it {highest}")
        highest = max(highest, seen)


def _judge_signatures(judged: _Judged, keys: Keyring) -> None:
    if judged.copy.site not in keys:
        judged.find("no-key", 0, "no public key of this site was given: its heads cannot be checked")
        return
    for note in judged.copy.notes:
        try:
            head = checkpoint_from_note(note)
        except NciaError as error:
            judged.find("forged", judged.size(), f"a head is not readable: {error.why}")
            continue
        if head.site != judged.copy.site or not signed_by(head, keys):
            judged.find("forged", head.size, f"the head of size {head.size} is not signed with {head.site}'s key")
        else:
            judged.heads.append(head)
            for by in forged(head, keys):
                judged.find(
                    "forged", head.size, f"{by} did not sign the cosignature under the head of size {head.size}"
                )
    judged.heads.sort(key=lambda head: head.size)


def _judge_heads(judged: _Judged, keys: Keyring) -> None:
    """Every signed root against the entries; a fault is named between the last head that agrees and the next."""
    if judged.copy.head_alone:
        for head in judged.heads:
            judged.signed_size, judged.root = head.size, head.root
            judged.vouched += vouches(head, keys)
        return
    size, whole = judged.size(), judged.whole()
    top = max((head.size for head in judged.heads), default=0)
    if size < top:
        _drop(judged, size, top, f"{judged.copy.site} signed a log of {top}")
    if size > top and judged.copy.rows:
        judged.find("unsigned", top, f"entries {top}..{size - 1} are covered by no signed head")
    tree, agreed, refuted = Tree(), 0, None
    for head in judged.heads:
        if head.size > whole:
            break  # told as dropped
        tree, _ = tree.grow(judged.leaves[number] for number in range(tree.size, head.size))
        if tree.root() != head.root:
            refuted = refuted or (agreed, head.size)
            continue
        judged.signed_size, judged.root = head.size, head.root
        judged.vouched += vouches(head, keys)
        if refuted is not None:
            sentence = f"heads are signed over this history and over another one, which part at {refuted[0]} or after"
            judged.find("forked", refuted[0], sentence)
            return
        agreed = head.size
    if refuted is not None:
        _judge_refuted(judged, *refuted)


def _judge_refuted(judged: _Judged, start: int, end: int) -> None:
    """The entries ``start``..``end`` are not those that were signed together."""
    judged.refuted = range(start, end)
    start, end = _narrowed(judged, start, end)
    if any(start <= number < end for number in judged.faulty()):
        return  # told already
    which = f"entry {start} is" if end == start + 1 else f"one of the entries {start}..{end - 1} is"
    judged.find("flipped", start, f"{which} not what was signed, and its hash was altered with it")


def _narrowed(judged: _Judged, start: int, end: int) -> tuple[int, int]:
    """The smallest stored subtree in the range that does not agree with its leaves; the range where there is none."""
    for node in judged.copy.nodes or ():  # lowest level first
        first, last = node.index << node.level, (node.index + 1) << node.level
        if start < last and first < end and last <= judged.whole() and _hash_of(judged, first, last) != node.hash:
            return max(start, first), min(end, last)
    return start, end


def _judge_nodes(judged: _Judged) -> None:
    """Stored subtree hashes above leaves that are otherwise in order."""
    if judged.findings or judged.copy.nodes is None:
        return
    _, born = Tree().grow(judged.leaves[number] for number in range(judged.whole()))
    wanted = {(node.level, node.index): node.hash for node in born if node.level}
    stored = {(node.level, node.index): node.hash for node in judged.copy.nodes}
    for level, index in sorted(wanted.keys() | stored.keys()):
        if wanted.get((level, index)) != stored.get((level, index)):
            judged.find("tree", index << level, f"the stored hash at level {level}, index {index} is wrong or missing")


def _judge_seen_elsewhere(judged: _Judged, everything: Iterable[_Judged]) -> None:
    """What a peer's entries say to have seen of a log, its own site's copy must hold."""
    if not judged.copy.own:
        return
    size = max(judged.size(), *(head.size for head in judged.heads)) if judged.heads else judged.size()
    for other in everything:
        if other.copy.site == judged.copy.site:
            top = max((head.size for head in other.heads), default=0)
        else:
            top = max(other.peer_seen.values(), default=0)
        if size < top:
            _drop(judged, size, top, f"{other.copy.file} shows that this log once held {top} entries")
        size = max(size, top)


def _compare(one: _Judged, other: _Judged) -> None:
    """Two copies of one log: where they first hold different entries, neither of them known as altered, they part."""
    faulty = one.faulty() | other.faulty()
    for number in sorted(one.leaves.keys() & other.leaves.keys()):
        if number in faulty or number in one.refuted or number in other.refuted:
            continue
        if one.leaves[number] != other.leaves[number]:
            one.find("forked", number, f"{other.copy.file} holds another entry under this number")
            return


def _judge_against_heads_elsewhere(judged: _Judged, others: Iterable[_Judged], keys: Keyring) -> None:
    """Heads of the same log that others keep, the witness above all, against these entries as far as they are sound."""
    sound = min([judged.whole(), *judged.faulty()])
    elsewhere = [
        (head, other.copy.file) for other in others if other.copy.site == judged.copy.site for head in other.heads
    ]
    tree, agreed = Tree(), 0
    for head, file in sorted(elsewhere, key=lambda each: each[0].size):
        if head.size > sound:
            return
        tree, _ = tree.grow(judged.leaves[number] for number in range(tree.size, head.size))
        if tree.root() != head.root:
            judged.find("forked", agreed, _two_roots(tree, head, file, keys))
            return
        agreed = head.size


def _two_roots(tree: Tree, head: Checkpoint, file: str, keys: Keyring) -> str:
    who = " and ".join(vouch.by for vouch in vouches(head, keys))
    cosigned = f", cosigned by {who}" if who else ""
    return (
        f"at size {head.size} its root is {tree.root().hex()[:16]}…, and {file} shows a head of that size that "
        f"{head.site} signed with root {head.root.hex()[:16]}…{cosigned}: they part here or after"
    )


def _hash_of(judged: _Judged, first: int, last: int) -> bytes:
    return Tree().grow(judged.leaves[number] for number in range(first, last))[0].root()


def _listed(findings: Sequence[Finding]) -> list[Finding]:
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    listed = []
    for same in by_kind.values():
        listed += same[:LISTED_MAX]
        if len(same) > LISTED_MAX:
            last, more = same[-1], len(same) - LISTED_MAX
            sentence = f"and {more} more of this kind up to here"
            listed.append(Finding(last.kind, last.site, last.number, last.file, sentence))
    return sorted(listed, key=lambda finding: finding.number)
