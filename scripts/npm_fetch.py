"""Packages of npm's registry as a lock file says, without npm: npm_fetch.py FOLDER TARGET

FOLDER holds package-lock.json; its packages are unpacked to TARGET/node_modules unless they are
there already. Each tarball must have the hash of the lock file; nothing of a package is executed.
Debian's npm would bring 400 packages for what these lines do. To renew the versions: change
package.json, then `npm install --package-lock-only --ignore-scripts` in FOLDER.
"""

import base64
import concurrent.futures
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

REGISTRY = os.environ.get("npm_config_registry", "https://registry.npmjs.org").rstrip("/")
PACKAGE_BYTES_MAX = 64 << 20
AT_ONCE = 8
# For compilers and debuggers: half of the files, and nothing runs them.
LEFT_OUT = (".map", ".d.ts", ".d.mts", ".d.cts")


class Missing(Exception):
    """The registry can not be reached: what needs its packages can not be done here."""


def download(path, package):
    name = package.get("name") or path.split("node_modules/")[-1]
    url = f"{REGISTRY}/{name}/-/{name.split('/')[-1]}-{package['version']}.tgz"
    for attempt in (1, 2, 3):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                data = answer.read(PACKAGE_BYTES_MAX)
            break
        except (urllib.error.URLError, OSError) as error:
            if attempt == 3:
                raise Missing(f"{url} can not be fetched ({error}): npm's registry is needed once; "
                              "npm_config_registry names another") from None
    algorithm, _, wanted = package["integrity"].partition("-")
    found = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    if found != wanted:
        raise AssertionError(f"{url} is not what the lock file says: {algorithm}-{found}")
    return data


def unpack(data, folder):
    """The files of a package that run, without its top folder; no links, nothing that leads elsewhere."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            parts = Path(member.name).parts[1:]
            if not member.isfile() or not parts or ".." in parts or member.name.endswith(LEFT_OUT):
                continue
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(member).read())


def install(folder, kept):
    """Everything that FOLDER's lock file names, below `kept`, unless it is there already."""
    lock, kept = (Path(folder) / "package-lock.json").read_bytes(), Path(kept)
    stamp = kept / "installed"
    mark = hashlib.sha256(lock).hexdigest()
    kept.mkdir(parents=True, exist_ok=True)
    with open(kept / "turn", "w", encoding="ascii") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text("ascii") == mark:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(kept / "node_modules", ignore_errors=True)
        packages = {path: package for path, package in json.loads(lock)["packages"].items() if path}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            made = {pool.submit(download, *item): item[0] for item in packages.items()}
            try:
                for done in concurrent.futures.as_completed(made):
                    unpack(done.result(), kept / made.pop(done))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        stamp.write_text(mark, "ascii")


def main():
    try:
        install(*sys.argv[1:3])
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
