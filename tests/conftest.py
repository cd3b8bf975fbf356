# SPDX-License-Identifier: Apache-2.0
"""What the functional tests share: the built programs, a VM on a pipe, a Debian image."""
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("CAISSON_BUILD", ROOT / "build"))
CAISSON = str(BUILD / "caisson")
GUESTS = BUILD / "tests" / "guests"


class VM:
    """A running `caisson run`, its serial console on stdin and stdout."""

    def __init__(self, *args, timeout=60):
        self.timeout = timeout
        self.output = b""
        self.pos = 0
        self.proc = subprocess.Popen([CAISSON, "run", *map(str, args)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.proc.stdout.fileno(), False)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.stderr.close()

    def _read(self, wait):
        if not select.select([self.proc.stdout], [], [], wait)[0]:
            return True
        data = os.read(self.proc.stdout.fileno(), 65536)
        self.output += data
        return bool(data)

    def expect(self, pattern, timeout=None):
        """Wait for a regular expression after what was matched before; returns the match."""
        deadline = time.monotonic() + (timeout or self.timeout)
        regex = re.compile(pattern.encode(), re.M)
        while True:
            match = regex.search(self.output, self.pos)
            if match:
                self.pos = match.end()
                return match
            if time.monotonic() > deadline:
                pytest.fail(f"no {pattern!r} in time; the console's end:\n{self.tail()}")
            if not self._read(1):
                match = regex.search(self.output, self.pos)
                if match:
                    self.pos = match.end()
                    return match
                pytest.fail(f"the VM ended before {pattern!r}; the console's end:\n{self.tail()}\n"
                            f"{self.proc.stderr.read().decode(errors='replace')}")

    def tail(self):
        return self.output[-3000:].decode(errors="replace")

    def send(self, text):
        self.proc.stdin.write(text.encode())
        self.proc.stdin.flush()

    def run(self, command, timeout=None):
        """Run a shell command in a guest that has a root prompt; returns (status, output)."""
        mark = f"M{time.monotonic_ns()}"
        # the echo of the command line must not look like the result
        self.send(f"{command}; echo {mark[:1]}''{mark[1:]} $?\n")
        start = self.pos
        match = self.expect(rf"^{mark} (\d+)\r?$", timeout)
        text = self.output[start:match.start()].decode(errors="replace")
        return int(match[1]), text.replace("\r", "").strip()

    def login(self, timeout=400):
        self.expect("login: ", timeout)
        self.send("root\n")
        self.expect(r"# $", timeout)
        # no echo and no prompt: what comes back is output only
        self.send("bind 'set enable-bracketed-paste off'; dmesg -n 1; stty -echo; PS1=; "
                  "echo rea''dy\n")
        self.expect(r"ready\r?$", 60)

    def wait(self, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        while time.monotonic() < deadline:
            alive = self._read(0.2)
            if self.proc.poll() is not None:
                while self._read(0) and self.proc.stdout.readable():
                    if not select.select([self.proc.stdout], [], [], 0)[0]:
                        break
                return self.proc.returncode
            if not alive:
                time.sleep(0.05)
        pytest.fail(f"the VM did not end; the console's end:\n{self.tail()}")

    def text(self):
        return self.output.decode(errors="replace").replace("\r", "")


class QMP:
    """A client of the control socket."""

    def __init__(self, path, timeout=20):
        import json
        self.json = json
        deadline = time.monotonic() + timeout
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(path))
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.sock.settimeout(timeout)
        self.file = self.sock.makefile("rwb")
        self.events = []
        self.greeting = self.read()

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the control socket was closed")
        return self.json.loads(line)

    def send_line(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        while True:
            msg = self.read()
            if "event" not in msg:
                return msg
            self.events.append(msg)

    def command(self, name, **args):
        req = {"execute": name}
        if args:
            req["arguments"] = args
        return self.send_line(self.json.dumps(req))

    def wait_event(self, name):
        while True:
            for i, ev in enumerate(self.events):
                if ev["event"] == name:
                    return self.events.pop(i)
            self.events.append(self.read())

    def close(self):
        self.sock.close()


def run_caisson(*args, timeout=60, **kw):
    return subprocess.run([CAISSON, *map(str, args)], text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **kw)


def kvm_usable():
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


@pytest.fixture(scope="session")
def images():
    """A store with the image 'debian', built once and kept beside the build."""
    store = BUILD / "test-home"
    store.mkdir(exist_ok=True)
    os.environ["CAISSON_HOME"] = str(store)
    r = run_caisson("image", "build", "debian", timeout=900)
    assert r.returncode == 0, r.stderr
    return store / "images"


@pytest.fixture
def tmp_disk(tmp_path):
    path = tmp_path / "disk.raw"
    with open(path, "wb") as f:
        f.truncate(8 << 20)
    return path


def terminate(proc):
    proc.send_signal(signal.SIGTERM)
    return proc.wait(20)
