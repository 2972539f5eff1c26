"""hub: the real binary as the tests run it: `penstock init`, `key`, `serve`, `sandbox erp`.

Owns: Binary (what is tested), Hub (a configuration folder and the process that serves it), Erp
(the sandbox). Usable without pytest, by the load test and the demo alike.
Holds always: every wait is bounded; a process that ends with another code than expected, or
writes a sanitizer's report, is an error with its log.
"""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from wire import Client, Gone, until

READY = re.compile(r"https?://([\w.\-]+|\[[0-9a-f:]+\]):(\d+)")
SANITIZER = re.compile(
    r"(ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|"
    r"SUMMARY: \w+Sanitizer|runtime error:).*"
)


class Binary:
    """The program under test. `slow` is true of builds with a sanitizer: bounds on time that
    are promised of the release build are widened for them by `patience`."""

    def __init__(self, path):
        self.path = Path(path).resolve()
        assert os.access(self.path, os.X_OK), (
            f"{self.path} is not there: build first, or name the program in PENSTOCK_BIN"
        )
        data = self.path.read_bytes()
        self.slow = b"__asan_init" in data or b"__tsan_init" in data
        self.patience = 8.0 if self.slow else 1.0
        self.env = dict(os.environ)
        self.env.setdefault("ASAN_OPTIONS", "exitcode=99:detect_leaks=1")
        self.env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99")
        self.env.setdefault("TSAN_OPTIONS", "exitcode=99")

    def run(self, *args, env=None, input=None, timeout_s=60):
        """Runs it to its end: CompletedProcess with text. A sanitizer's report fails."""
        done = subprocess.run(
            [str(self.path), *map(str, args)], env={**self.env, **(env or {})}, input=input,
            stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )
        report = SANITIZER.search(done.stderr)
        assert not report, f"penstock {' '.join(map(str, args))}:\n{done.stderr}"
        assert done.returncode >= 0, f"penstock {args} died of signal {-done.returncode}: {done.stderr}"
        return done

    def ok(self, *args, **kw):
        """As run, and it must answer 0; its stdout."""
        done = self.run(*args, **kw)
        assert done.returncode == 0, f"penstock {' '.join(map(str, args))}: {done}"
        return done.stdout


class Process:
    """A penstock that serves until told to stop, its output in files under `log_dir`."""

    runs = 0

    def __init__(self, binary, args, log_dir, env=None):
        Process.runs += 1
        self.binary = binary
        self.args = [str(a) for a in args]
        name = f"{Process.runs:03d}-{self.args[0]}"
        self.out_path = Path(log_dir) / f"{name}.out"
        self.err_path = Path(log_dir) / f"{name}.err"
        self.started = time.monotonic()
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(
                [str(binary.path), *self.args], env={**binary.env, **(env or {})},
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )
        self.host = self.port = None

    def log(self):
        text = f"$ penstock {' '.join(self.args)}\n"
        for path in (self.out_path, self.err_path):
            data = path.read_bytes().decode("utf-8", "replace")
            text += f"--- {path.name}\n{data[-20000:]}\n"
        return text

    def await_address(self):
        """The address it says it listens on, in the first line that names one."""
        def found():
            for path in (self.out_path, self.err_path):
                for line in path.read_text("utf-8", "replace").splitlines(True):
                    match = None if line.startswith("ts=") else READY.search(line)
                    if match and line.endswith("\n"):
                        return match
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}\n{self.log()}"
            return None
        match = until(found, 20 * self.binary.patience, f"a ready line\n{self.log()}")
        self.host, self.port = match.group(1), int(match.group(2))
        return self

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.popen.kill()
        self.popen.wait(30)

    def wait(self, timeout_s=60):
        """Its exit code; a sanitizer's report in the log fails."""
        try:
            code = self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {timeout_s} s\n{self.log()}") from None
        self.check_log()
        return code

    def check_log(self):
        report = SANITIZER.search(self.err_path.read_text("utf-8", "replace"))
        assert not report, f"sanitizer report\n{self.log()}"

    def stop(self):
        """SIGTERM; it must drain and answer 0."""
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.wait(30 * self.binary.patience)
        assert code == 0, f"exit code {code} after SIGTERM\n{self.log()}"


class Hub:
    """A configuration folder made by `init`, and the hub that serves it. Survives restarts."""

    def __init__(self, binary, folder, env=None, args=()):
        self.binary, self.folder, self.args = binary, Path(folder), list(args)
        self.env = dict(env or {})
        if binary.slow: # waits several times longer are no overload
            self.env.setdefault("PENSTOCK_ADMISSION_PROTECT_MS", "100")
        self.config = self.folder / "hub"
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.process = None
        self.processes = []
        self.clients = []
        binary.ok("init", self.config)
        self.key = self.create_key("tests", "*")

    def create_key(self, name, *scopes):
        args = [part for scope in scopes for part in ("--scope", scope)]
        out = self.binary.ok("key", "create", "-C", self.config, "--name", name, *args)
        key = out.strip()
        assert key and "\n" not in key and " " not in key, f"stdout must be the key alone: {out!r}"
        return key

    def launch(self):
        """Starts it without waiting until it is ready."""
        assert self.process is None
        self.process = Process(
            self.binary, ["serve", "-C", self.config, "--listen", "127.0.0.1:0", *self.args],
            self.logs, self.env,
        )
        self.processes.append(self.process)
        return self

    def start(self):
        """Starts it; returns when /readyz answers 200. `ready_s`: how long that took."""
        self.launch()
        self.process.await_address()
        until(self.is_ready, 20 * self.binary.patience, "200 from /readyz")
        self.ready_s = time.monotonic() - self.process.started
        return self

    def is_ready(self):
        client = Client(self.process.host, self.process.port, None, 5)
        try:
            return client.get("/readyz").status == 200
        except Gone:
            assert self.process.popen.poll() is None, f"ended\n{self.process.log()}"
            return False
        finally:
            client.close()

    def running(self):
        """The process; between a kill and the next start there is none, as for any caller."""
        process = self.process
        if process is None:
            raise Gone("the hub is not running")
        return process

    @property
    def host(self):
        return self.running().host

    @property
    def port(self):
        return self.running().port

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def client(self, key=..., timeout_s=30):
        client = Client(self.host, self.port, self.key if key is ... else key, timeout_s)
        self.clients.append(client)
        return client

    def cli(self, *args, key=..., **kw):
        """A command that talks to the running hub."""
        env = {"PENSTOCK_HUB": self.url, "PENSTOCK_KEY": self.key if key is ... else key}
        return self.binary.run(*args, env={**self.env, **env}, **kw)

    def stop(self):
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.process:
            process, self.process = self.process, None
            process.stop()

    def kill(self):
        """kill -9. Clients are left as they are: their next read finds the end."""
        process, self.process = self.process, None
        process.kill()
        process.check_log()

    def restart(self):
        self.stop()
        return self.start()

    def verify(self):
        """`journal verify` of the stopped hub's data must agree."""
        return self.binary.ok("journal", "verify", "--full", "-C", self.config)

    def log(self):
        return "\n".join(p.log() for p in self.processes[-4:])


class Erp:
    """`penstock sandbox erp`: the system at the other end, with its own books."""

    def __init__(self, binary, folder, *args, env=None):
        logs = Path(folder) / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.process = Process(
            binary, ["sandbox", "erp", "--listen", "127.0.0.1:0", *args], logs, env)
        self.process.await_address()

    @property
    def url(self):
        return f"http://{self.process.host}:{self.process.port}"

    def client(self):
        return Client(self.process.host, self.process.port, None, hub=False)

    def stop(self):
        self.process.stop()

    def log(self):
        return self.process.log()


def pretty(doc):
    return json.dumps(doc, indent=1, ensure_ascii=False)
