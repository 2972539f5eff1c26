"""make fuzz: runs every libFuzzer target of a build for some seconds, beginning with its corpus.

New inputs that reach new code go to build-fuzz/corpus/NAME; the corpus in the tree holds what
was chosen by hand. An input that breaks a target is left as build-fuzz/NAME-crash-*: put it
into tests/fuzz/corpus/NAME/ together with the repair, so that `make test` replays it for ever.
"""
import argparse
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INPUT_BYTES_MAX = 65536


def targets(build):
    found = glob.glob(os.path.join(build, "tests", "fuzz", "fuzz_*"))
    return sorted(p for p in found if os.access(p, os.X_OK) and os.path.isfile(p))


def search(program, build, seconds):
    """True where nothing broke."""
    name = os.path.basename(program).replace("fuzz_", "", 1)
    found = os.path.join(build, "corpus", name)
    os.makedirs(found, exist_ok=True)
    print(f"=== {name}: {seconds} s", flush=True)
    done = subprocess.run(
        [program, found, os.path.join(ROOT, "tests", "fuzz", "corpus", name),
         f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=10",
         "-rss_limit_mb=2048", "-print_final_stats=1",
         f"-artifact_prefix={os.path.join(build, name)}-crash-"])
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build-fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("name", nargs="*", help="these targets alone")
    given = parser.parse_args()
    build = os.path.join(ROOT, given.build)
    programs = [p for p in targets(build)
                if not given.name or os.path.basename(p)[len("fuzz_"):] in given.name]
    if not programs:
        print("no fuzz targets", file=sys.stderr)
        return 1
    broken = [p for p in programs if not search(p, build, given.seconds)]
    print(f"{len(programs) - len(broken)} passed, {len(broken)} failed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
