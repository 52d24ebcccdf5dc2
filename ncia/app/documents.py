"""Stores of documents as one process at one site reaches them: which adapter serves which kind of copy."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import HostId, SiteId
from ncia.core.estate.model import Address, BucketCopy, Estate, TreeCopy
from ncia.core.work.documents import Documents

if TYPE_CHECKING:
    from backup.clients.sftp import SftpHost


class DocumentStores:
    """Opens each store once: trees of one host share a connection, buckets of one store a client. ``secrets`` holds
    ``files_key``, ``known_hosts`` and ``s3_keys``; nothing is dialled before it is used."""

    def __init__(self, estate: Estate, viewer: SiteId, secrets: Path) -> None:
        self._estate = estate
        self._viewer = viewer
        self._secrets = secrets
        self._lock = threading.Lock()
        self._hosts: dict[HostId, SftpHost] = {}
        self._clients: dict[Address, Any] = {}

    def of(self, copy: TreeCopy | BucketCopy) -> Documents:
        if isinstance(copy, TreeCopy):
            from backup.replicate.stores.sftp import SftpTree

            return SftpTree(self._host(copy.host), copy.path)
        from backup.replicate.stores.s3 import S3Bucket

        return S3Bucket(self._client(copy), copy.bucket, f"s3@{copy.site}")

    def close(self) -> None:
        with self._lock:
            hosts, clients = list(self._hosts.values()), list(self._clients.values())
            self._hosts, self._clients = {}, {}
        for host in hosts:
            host.close()
        for client in clients:
            client.close()

    def _host(self, id: HostId) -> SftpHost:
        from backup.clients.sftp import Login, SftpHost
        from backup.replicate.stores.sftp import LIMITS

        with self._lock:
            if id not in self._hosts:
                host = self._estate.hosts[id]
                seen = self._estate.seen(host.ssh, host.site, self._viewer)
                keys, known = (self._secrets / "files_key",), (self._secrets / "known_hosts",)
                login = Login(id, seen.host, seen.port, host.sftp_user, keys, known)
                self._hosts[id] = SftpHost(login, LIMITS)
            return self._hosts[id]

    def _client(self, copy: BucketCopy) -> Any:
        from backup.replicate.stores.s3 import Access, client_of

        with self._lock:
            if copy.endpoint not in self._clients:
                seen = self._estate.seen(copy.endpoint, copy.site, self._viewer)
                self._clients[copy.endpoint] = client_of(Access(seen, *self.key(seen)))
            return self._clients[copy.endpoint]

    def key(self, endpoint: Address) -> tuple[str, str]:
        """The site's key of an object store, as it is dialled from here."""
        file = self._secrets / "s3_keys"
        what, hint = f"use the object store at {endpoint}", "a line: ADDRESS ACCESS_KEY SECRET, mode 0600"
        try:
            lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
        except OSError as error:
            why = f"{file}: {error.strerror or 'unreadable'}"
            raise NciaError("documents.no-key", what, why, hint) from error
        for words in lines:
            if len(words) == 3 and words[0] == str(endpoint):
                return words[1], words[2]
        raise NciaError("documents.no-key", what, f"{file} has no line for it", hint)
