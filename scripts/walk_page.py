"""Walks through a page of docs/ as a new user would: runs every command of its `console` blocks, in
one shell, in an empty folder, and compares what they print with what the page says.

    scripts/walk_page.py PAGE [--penstock build/penstock] [--update]

In a block, `$ ` begins a command and `> ` continues it; what follows is what it printed. A line `...`
stands for any lines. What is another every time (ids, times, dates, ports, sequence numbers, how long
something took) is compared by its kind alone. --update writes what was printed into the page.

Addresses: 127.0.0.1 with a port below 10000 in the page is a free port while it is walked.
"""
import argparse
import difflib
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
ADDRESS = re.compile(r"127\.0\.0\.1:(\d{4})\b")
PAUSE_MAX_S = 30  # what a page waits for in the background is slower on a busy machine
COMMAND_LIMIT_S = 60
KINDS = [
    (re.compile(r"\b([a-z]{2,3})_[0-9a-z]{12,}"), r"\1_ID"),
    (re.compile(r"\b[0-9a-f]{32,64}\b"), "HEX"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "HASH"),
    (re.compile(r"20\d\d-\d\d-\d\d"), "DATE"),
    (re.compile(r"(?<!\d)\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? ?(us|ms|s|seconds|KiB|MiB|bytes|B|records)\b"), "SOME"),
    (re.compile(r"#\d+\b"), "#SEQ"),
    (re.compile(r"payload(-|_seq )\d+\b"), "payload SEQ"),
    (re.compile(r"(seq\"?[=: ]+\"?)\d+"), r"\1SEQ"),
    (re.compile(r"SO-\d+"), "SO-NUMBER"),
    (re.compile(r", sent \d+ times"), ""),
    (re.compile(r"[ \t]+"), " "),
]


class Wrong(Exception):
    """The page and the program do not say the same."""


class Shell:
    """One bash for the whole page, its output and errors in the order they come."""

    def __init__(self, folder, path):
        self.end = f"end-of-{os.getpid()}-{time.monotonic_ns()}"
        env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8",
               "NO_COLOR": "1", "PENSTOCK_HUB": "", "PENSTOCK_KEY": ""}
        self.popen = subprocess.Popen(["bash", "--norc", "--noprofile"], cwd=folder, env=env, text=True, bufsize=1,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      start_new_session=True)
        os.set_blocking(self.popen.stdout.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.popen.stdout, selectors.EVENT_READ)

    def run(self, command):
        """What it printed; its lines without space at the end."""
        self.popen.stdin.write(f"{command}\nprintf '\\n%s\\n' {self.end}\n")
        self.popen.stdin.flush()
        text, until = b"", time.monotonic() + COMMAND_LIMIT_S
        end = f"\n{self.end}\n".encode()
        while not text.endswith(end):
            left = until - time.monotonic()
            if left <= 0 or not self.selector.select(left):
                raise Wrong(f"not done after {COMMAND_LIMIT_S} s: {command}\n{text.decode(errors='replace')}")
            part = os.read(self.popen.stdout.fileno(), 65536)
            if not part:
                raise Wrong(f"the shell ended: {command}\n{text.decode(errors='replace')}")
            text += part
        lines = text[:-len(end)].decode(errors="replace").split("\n")
        return [line.rstrip() for line in lines] if lines != [""] else []

    def close(self):
        self.popen.stdin.close()
        try:
            os.killpg(self.popen.pid, signal.SIGTERM)
            self.popen.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait(10)
        self.selector.close()
        self.popen.stdout.close()


class Ports:
    """Those of the page, and the free ones that stand for them."""

    def __init__(self):
        self.free = {}

    def out(self, text):
        return ADDRESS.sub(lambda found: f"127.0.0.1:{self.of(found[1])}", text)

    def back(self, text):
        for page, free in self.free.items():
            text = text.replace(f"127.0.0.1:{free}", f"127.0.0.1:{page}")
        return text

    def of(self, page):
        if page not in self.free:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.free[page] = probe.getsockname()[1]
        return self.free[page]


def kinds_of(line):
    for pattern, name in KINDS:
        line = pattern.sub(name, line)
    return line.strip()


def alike(said, printed):
    """Whether the lines of the page fit what was printed; `...` fits any lines."""
    if not said:
        return not printed
    if said[0] == "...":
        return any(alike(said[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and kinds_of(said[0]) == kinds_of(printed[0]) and alike(said[1:], printed[1:])


def steps_of(block):
    """[command lines, printed lines] of a block."""
    steps = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append(([line], []))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1][0].append(line)
        elif not steps:
            raise Wrong(f"a block begins with a command: {line}")
        else:
            steps[-1][1].append(line)
    return steps


def strip_blank(lines):
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def walk(page, penstock, update=False, tell=lambda text: None):
    """Raises Wrong with the difference of the first command that prints something else."""
    text, ports = page.read_text(), Ports()
    folder = Path(tempfile.mkdtemp(prefix="penstock-walk-"))
    shell = Shell(folder, Path(penstock).resolve().parent)

    def walked(found):
        made = []
        for command, said in steps_of(found[1]):
            words = "\n".join(line[2:] for line in command)
            started = time.monotonic()
            printed = strip_blank([ports.back(line) for line in shell.run(ports.out(words))])
            tell(f"{time.monotonic() - started:6.2f} s  {command[0]}")
            said = strip_blank(said)
            while (words.endswith("& sleep 1") and len(printed) < len(said)
                   and time.monotonic() - started < PAUSE_MAX_S):
                printed = strip_blank(printed + [ports.back(line) for line in shell.run("sleep 1")])
            if not alike(said, printed):
                if not update:
                    raise Wrong("\n".join([f"{page}: {words}", *difflib.unified_diff(
                        said, printed, "the page", "printed", lineterm="")]))
                said = printed
            made += [*command, *said]
        return "```console\n" + "\n".join(made) + "\n```"

    try:
        text = BLOCK.sub(walked, text)
    finally:
        shell.close()
        shutil.rmtree(folder, ignore_errors=True)
    if update:
        page.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--penstock", default="build/penstock")
    parser.add_argument("--update", action="store_true", help="write what was printed into the page")
    given = parser.parse_args()
    try:
        walk(given.page, given.penstock, given.update, print)
    except Wrong as wrong:
        sys.exit(str(wrong))


if __name__ == "__main__":
    main()
