"""The linters of the printed documents: fetched from npm's registry as package-lock.json says,
kept under build/, run on Node.

    python3 tests/contracts/linters.py openapi.json asyncapi.json

How they are fetched, and how their versions are renewed: scripts/npm_fetch.py.
"""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KEPT = ROOT / "build" / "linters"
sys.path.insert(0, str(ROOT / "scripts"))

import npm_fetch  # noqa: E402
from npm_fetch import Missing  # noqa: E402  (Node or the network is not there)


def lint(openapi, asyncapi):
    """What the linters find, a line each; nothing found is an empty list."""
    if not shutil.which("node"):
        raise Missing("Node is not installed: `make install-deps` brings it")
    npm_fetch.install(HERE, KEPT)
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
