"""A URL names a real store: a backup goes there, is checked there to the last byte, and comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from backup.repository.care.checking import Checking, Share
from backup.repository.location import Account
from backup.repository.ports import Store
from backup.repository.repository import create, open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.app.repository_store import store_of
from ncia.core.base.clock import SystemClock
from tests.backup.replicate.stores.stands import s3_stand, sftp_stand
from tests.backup.repository.files import differences, odd_tree
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD


def there_and_back(store: Store, folder: Path) -> None:
    source = odd_tree(folder / "source")
    create(store, PASSWORD, HOLDER, NOW, CHEAP)
    saved = save(open_repository(store, PASSWORD), Request((str(source),), HOLDER), SystemClock())
    checked = Checking(open_repository(store, PASSWORD), Share()).run()
    assert (checked.faults, checked.notes, checked.share_read) == ([], [], 1.0)
    repository = open_repository(store, PASSWORD)
    repository.load_index()
    with Restoring(repository) as restoring:
        told = restoring.run(saved.snapshot, folder / "target", Way(whole=True))
    assert told.losses.named == []
    assert differences(source, folder / "target" / source.relative_to("/")) == []


def test_a_folder(tmp_path: Path) -> None:
    store = store_of(f"local:{tmp_path}/repository")
    assert isinstance(store, FolderStore)
    there_and_back(store, tmp_path)


def test_a_bucket_with_the_keys_of_the_environment(tmp_path: Path) -> None:
    with s3_stand(tmp_path / "objects") as access:
        keys = {"AWS_ACCESS_KEY_ID": access.key, "AWS_SECRET_ACCESS_KEY": access.secret}
        store = store_of(f"s3:http://{access.endpoint}/bucket/prefix", Account("somebody", tmp_path, keys))
        there_and_back(store, tmp_path)
        store.close()


def test_a_host_that_the_ssh_configuration_knows(tmp_path: Path) -> None:
    with sftp_stand(tmp_path / "site") as host:
        login = host.login()
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text(
            f"Host store\n  HostName {login.host}\n  Port {login.port}\n  User {login.user}\n"
            f"  IdentityFile {login.keys[0]}\n  UserKnownHostsFile {login.known_hosts[0]}\n"
        )
        store = store_of("sftp:store:/repository", Account("somebody", tmp_path, {}))
        there_and_back(store, tmp_path)
        store.close()


def test_a_folder_waits_for_no_ssh_and_no_s3() -> None:
    code = "import sys, ncia.app.repository as r; r.store_of('/srv'); print({'paramiko', 'boto3'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout == "set()\n"
