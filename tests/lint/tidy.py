"""The tidy check: sizes, banned calls, opening comments, leftovers.

Every rule is one function that yields (line, message); the tables say to which files it applies.
"""
import os
import re
import sys

from sources import ROOT, code_of, finish, line_of, read, walk

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 90
LINE_COLUMNS_MAX = 120

# (pattern over code without comments, what is wrong, paths that may)
BANNED = [
    (r"\b(strcpy|strcat|stpcpy|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof)\s*\(",
     "is banned: it has no bound or no error", ()),
    (r"\b(rand|srand|random|drand48|RAND_bytes|getrandom|getentropy|arc4random)\s*\(",
     "is randomness: take it from base/rng.h", ("src/base/rng.c",)),
    (r"\b(time|localtime|gettimeofday|clock_gettime|clock|uv_hrtime)\s*\(",
     "is time: take it from base/clock.h", ("src/base/clock.c",)),
    (r"\b(localtime_r|mktime)\s*\(", "depends on this machine's time zone", ()),
    (r"\b(malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf)\s*\(",
     "is heap memory: take it from base/mem.h", ("src/base/mem.c",)),
    (r"\bassert\s*\(", "is off in some builds: use must() for our own invariants", ()),
    (r"\btypedef\s+(struct|union|enum)\b", "hides what it is: no typedef here", ()),
]
FLOATLESS = ("src/retail/", "src/domain/", "src/shape/")
FLOAT = re.compile(r"\b(float|double)\b")
LEFTOVER = re.compile(r"\b(TO[D]O|FIX[M]E|HAC[K]|XX[X]:|not implemente[d])\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/[\w.]")
TEXT_SUFFIXES = (
    ".c", ".h", ".cc", ".def", ".py", ".sh", ".lua", ".yaml", ".yml", ".md", ".build", ".txt",
)
OPENING = {
    ".c": ("/*", "//"), ".h": ("/*", "//"), ".def": ("/*", "//"), ".cc": ("/*", "//"),
    ".py": ("#", '"""'), ".sh": ("#",), ".lua": ("--",),
}


def sizes(path, text):
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield 1, f"{lines} lines, {FILE_LINES_MAX} is the limit"
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE_COLUMNS_MAX and not path.endswith((".md", ".def")):
            yield number, f"{len(line)} columns, {LINE_COLUMNS_MAX} is the limit"


def functions(code):
    """(line, name, length) of every function body: K&R, so it ends with a brace in column 0."""
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if line.startswith("}"):
            if start and line.rstrip() == "}":
                yield start[0], start[1], number - start[0] + 1
            start = None
        elif start is None and re.match(r"[A-Za-z_]", line):
            name = re.search(r"(\w+)\s*\(", line)
            start = (number, name.group(1) if name else line.split()[0])
            if line.rstrip().endswith((";", "}")):
                start = None
        elif start is not None and re.match(r"[A-Za-z_]\w*[^:\w]", line):
            name = re.search(r"(\w+)\s*\(", line)
            start = (number, name.group(1) if name else line.split()[0])
            if line.rstrip().endswith((";", "}")):
                start = None


def function_sizes(path, text):
    for line, name, length in functions(code_of(text)):
        if length > FUNCTION_LINES_MAX:
            yield line, f"{name} has {length} lines, {FUNCTION_LINES_MAX} is the limit"


def banned(path, text):
    code = code_of(text)
    for pattern, message, allowed in BANNED:
        if path in allowed:
            continue
        # a member of that name (ops->free) is another thing
        for match in re.finditer(r"(?<![.>\w])" + pattern, code):
            yield line_of(code, match.start()), f"{match.group(0).strip()} {message}"


def floatless(path, text):
    code = code_of(text)
    if path.startswith(FLOATLESS):
        for match in FLOAT.finditer(code):
            yield line_of(code, match.start()), f"{match.group(1)}: money and quantities are exact"


def opening(path, text):
    marks = OPENING.get(os.path.splitext(path)[1])
    first = text.lstrip("\ufeff")
    if first.startswith("#!"):
        first = first.split("\n", 1)[-1]
    if marks and text.strip() and not first.startswith(marks):
        yield 1, "opens with no comment that says what it is"


def leftovers(path, text):
    for match in LEFTOVER.finditer(text):
        yield line_of(text, match.start()), f"{match.group(1)}: finish it or leave it out"
    for match in MACHINE_PATH.finditer(text):
        yield line_of(text, match.start()), "names a path of one machine"


def readmes():
    """Every folder of src with sources in it says what it is."""
    for folder in sorted(os.listdir(os.path.join(ROOT, "src"))):
        at = os.path.join(ROOT, "src", folder)
        if not os.path.isdir(at) or os.path.exists(os.path.join(at, "README.md")):
            continue
        if any(name.endswith((".c", ".h")) for name in os.listdir(at)):
            yield f"src/{folder}:1: has no README.md"


def rules_for(path):
    rules = [leftovers]
    if path.endswith((".c", ".h", ".def", ".cc", ".py", ".sh", ".lua")):
        rules += [opening, sizes]
    if path.startswith("src/") and path.endswith((".c", ".h")):
        rules += [function_sizes, banned, floatless]
    elif path.endswith(".c"):
        rules += [function_sizes]
    return rules


def main():
    folders = ["src", "tests", "scripts", "bench", "docs", "connectors", "policies", ".ci"]
    files = [p for p in walk(*folders) if p.endswith(TEXT_SUFFIXES)]
    files = [p for p in files if "/corpus/" not in p]
    files += [p for p in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "Makefile",
                          "meson.build") if os.path.exists(os.path.join(ROOT, p))]
    problems = list(readmes())
    for path in files:
        try:
            text = read(path)
        except UnicodeDecodeError:
            problems.append(f"{path}:1: is not UTF-8")
            continue
        for rule in rules_for(path):
            problems += [f"{path}:{line}: {message}" for line, message in rule(path, text)]
    finish("tidy", problems, len(files))


if __name__ == "__main__":
    sys.exit(main())
