"""The linters of the printed documents: fetched from npm's registry as package-lock.json says,
kept under build/, run on Node.

    python3 tests/contracts/linters.py openapi.json asyncapi.json

Each tarball must have the hash of the lock file; nothing of a package is executed when it is
unpacked. Debian's npm would bring 400 packages for what these lines do. To renew the versions:
change package.json, then `npm install --package-lock-only` in this folder.
"""

import base64
import concurrent.futures
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = HERE.parent.parent / "build" / "linters"
REGISTRY = os.environ.get("npm_config_registry", "https://registry.npmjs.org").rstrip("/")
PACKAGE_BYTES_MAX = 64 << 20


class Missing(Exception):
    """Node or the network is not there: the documents can not be judged here."""


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
                raise Missing(f"{url} can not be fetched ({error}): the linters need npm's registry "
                              "once; npm_config_registry names another") from None
    algorithm, _, wanted = package["integrity"].partition("-")
    found = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    if found != wanted:
        raise AssertionError(f"{url} is not what the lock file says: {algorithm}-{found}")
    return data


def unpack(data, folder):
    """The files of a package, without its top folder; links and what leads elsewhere are left out."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            parts = Path(member.name).parts[1:]
            if not member.isfile() or not parts or ".." in parts:
                continue
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(member).read())


def install():
    """Everything the lock file names, unless it is there already."""
    lock = (HERE / "package-lock.json").read_bytes()
    stamp = KEPT / "installed"
    mark = hashlib.sha256(lock).hexdigest()
    KEPT.mkdir(parents=True, exist_ok=True)
    with open(KEPT / "turn", "w", encoding="ascii") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text("ascii") == mark:
            return
        shutil.rmtree(KEPT / "node_modules", ignore_errors=True)
        packages = {path: package for path, package in json.loads(lock)["packages"].items() if path}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            data = list(pool.map(download, packages, packages.values()))
        for path, tarball in zip(packages, data):
            unpack(tarball, KEPT / path)
        stamp.write_text(mark, "ascii")


def lint(openapi, asyncapi):
    """What the linters find, a line each; nothing found is an empty list."""
    if not shutil.which("node"):
        raise Missing("Node is not installed: `make install-deps` brings it")
    install()
    done = subprocess.run(["node", str(HERE / "lint.mjs"), str(KEPT), str(openapi), str(asyncapi)],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def main():
    try:
        found = lint(*sys.argv[1:3])
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    print("\n".join(found) or "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
