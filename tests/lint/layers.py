"""The layer check: a file includes from its own folder and from folders above it, never below.

The list is the order of ARCHITECTURE.md; `base` is the top, `cli` the bottom.
"""
import re

from sources import finish, line_of, read, walk

LAYERS = [
    "base", "shape", "retail", "core", "domain", "store", "map", "connect", "deliver",
    "gateway", "ops", "edge", "cli",
]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)


def check(path, text):
    folder = path.split("/")[1]
    if folder not in LAYERS:
        return [f"{path}:1: src/{folder} is not a layer"]
    problems = []
    for match in INCLUDE.finditer(text):
        target = match.group(1)
        where = f"{path}:{line_of(text, match.start())}"
        if "/" not in target:
            problems.append(f'{where}: write #include "{folder}/{target}"')
            continue
        other = target.split("/")[0]
        if other not in LAYERS:
            problems.append(f'{where}: "{target}" is in no layer')
        elif LAYERS.index(other) > LAYERS.index(folder):
            problems.append(f'{where}: {folder} may not know {other} ("{target}")')
        elif other != folder and target.endswith("_priv.h"):
            problems.append(f'{where}: "{target}" is private to {other}')
    return problems


def main():
    problems = []
    files = [p for p in walk("src") if p.endswith((".c", ".h", ".cc", ".def"))]
    for path in files:
        problems += check(path, read(path))
    finish("layers", problems, len(files))


if __name__ == "__main__":
    main()
