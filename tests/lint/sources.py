"""What the lint checks share: the files of the tree, and C source without its comments.

Owns no rule. A violation is printed as `path:line: what is wrong`, so that editors jump to it.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIPPED = {".git", "node_modules", "__pycache__", ".pytest_cache"}

# One alternative per thing that is no code; the first that matches at a place wins.
NOT_CODE = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X
)


def walk(*folders):
    """Paths relative to the root of every file under the folders, sorted; builds left out."""
    found = []
    for folder in folders:
        for at, dirs, names in os.walk(os.path.join(ROOT, folder)):
            dirs[:] = sorted(
                d for d in dirs if d not in SKIPPED and d != "build" and not d.startswith("build-")
            )
            found += [os.path.relpath(os.path.join(at, name), ROOT) for name in names]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blank(match):
    """Spaces for the text, so that lines and columns stay where they were."""
    text = match.group(0)
    inner = re.sub(r"[^\n]", " ", text)
    return inner if text[0] == "/" else text[0] + inner[1:-1] + text[-1]


def code_of(text):
    """The C source with the insides of comments and literals blanked."""
    return NOT_CODE.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def finish(name, problems, looked_at):
    """Prints what was found, and ends the program: 0 clean, 1 otherwise. A check that has
    looked at nothing has failed: it would say so of an empty tree, too."""
    for problem in problems:
        print(problem)
    if not looked_at:
        print(f"{name}: nothing to look at")
        sys.exit(1)
    print(f"{name}: {looked_at} files, {len(problems)} violations")
    sys.exit(1 if problems else 0)
