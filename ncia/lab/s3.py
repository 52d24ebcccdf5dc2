"""The object store of one lab site: ``rclone serve s3`` over a folder, with the site's own key.

Signatures, MD5 of what is sent, and whole objects only are real; versions, object lock and conditional writes are not
there, and it does not ask the disk to keep what it acknowledged: a lost process loses nothing, a lost power supply
might. It answers HEADs as if it had locks: nothing of ours may lean on them here.

``python -m ncia.lab.s3 --settings SITE/site.yaml``, working in the folder that it serves. The key is handed over in the
environment, never on the command line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Address
from ncia.lab.layout import endpoints_at


def program() -> str:
    """rclone, from the wheel: beside the interpreter."""
    found = shutil.which("rclone", path=str(Path(sys.executable).parent))
    if found is None:
        raise NciaError("lab.no-rclone", "find rclone", "the wheel is not installed", "pip install 'ncia[lab]'")
    return found


def command(endpoint: Address) -> list[str]:
    """Serves the folder in which it is started."""
    return [program(), "serve", "s3", ".", "--addr", str(endpoint), "--etag-hash", "MD5", "--config", ""]


def environment(key: str, secret: str) -> dict[str, str]:
    """rclone reads a list of pairs here, as CSV: one pair, quoted."""
    return {**os.environ, "RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_LOG_LEVEL": "NOTICE"}


def key_of(settings: SiteSettings, endpoint: Address) -> tuple[str, str]:
    for line in (settings.secrets / "s3_keys").read_text().splitlines():
        address, key, secret = line.split()
        if address == str(endpoint):
            return key, secret
    raise NciaError("lab.no-s3-key", f"serve S3 at {endpoint}", "secrets/s3_keys has no line for it", "lab up")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ncia.lab.s3", description=__doc__)
    parser.add_argument("--settings", required=True)
    settings = load_settings(parser.parse_args().settings)
    (endpoint,) = endpoints_at(load_estate(settings.estate), settings.site)
    given = environment(*key_of(settings, endpoint))
    os.execve(program(), command(endpoint), given)  # noqa: S606 -- this process becomes it, no shell is wanted


if __name__ == "__main__":
    main()
