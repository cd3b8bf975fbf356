# SPDX-License-Identifier: Apache-2.0
"""What the long runs share.  The build folder is the first argument of each script."""
import base64
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_words = [a for a in sys.argv[1:2] if not a.startswith("-")]
os.environ["CAISSON_BUILD"] = str(pathlib.Path(_words[0] if _words else ROOT / "build").resolve())
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests"))

import pytest  # noqa: E402
from conftest import VM, run_caisson  # noqa: E402,F401

# How a check fails: by assertion, by pytest.fail() inside the VM class, by the pipe of a VM
# that is gone, by a tool or a connection on the host.
FAILURES = (AssertionError, pytest.fail.Exception, OSError, ValueError,
            subprocess.SubprocessError)


class Tally:
    """Counts checks; end() prints the last line and gives the exit status."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, function, *args):
        """Run a check: its result is what to show for it.  Returns whether it passed."""
        try:
            shown = function(*args)
        except FAILURES as e:
            self.failed += 1
            print(f"FAIL {name}: {e}", flush=True)
            return False
        self.passed += 1
        print(f"ok   {name}{': ' + str(shown) if shown else ''}", flush=True)
        return True

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}", flush=True)

    def end(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}")
        return 1 if self.failed else 0


def kib(size):
    """'512M' or '6G' in KiB."""
    return int(size[:-1]) << {"M": 10, "G": 20}[size[-1]]


def guest(vm, command, timeout=120):
    """A command in the guest that has to succeed; returns what it printed."""
    status, text = vm.run(command, timeout)
    assert status == 0, f"{command!r} ended with status {status}: {text[-600:]}"
    return text


def put(vm, name, text):
    """Write a small file in the guest through its console."""
    guest(vm, f": > {name}")
    data = base64.b64encode(text.encode()).decode()
    for at in range(0, len(data), 1000):
        guest(vm, f"echo {data[at:at + 1000]} | base64 -d >> {name}")


def vmm_pid(vm):
    """The process that holds the guest: the command's child, or the command itself."""
    kids = pathlib.Path(f"/proc/{vm.proc.pid}/task/{vm.proc.pid}/children").read_text().split()
    return int(kids[0]) if kids else vm.proc.pid


# What a kernel in trouble prints; none of it may appear on the way to the prompt.
TROUBLE = r"Call Trace:|Kernel panic|BUG: |soft lockup|rcu_.*stall|Oops:|general protection"


def store():
    if os.environ.get("CAISSON_HOME"):
        return pathlib.Path(os.environ["CAISSON_HOME"]) / "images"
    data = os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share"
    return pathlib.Path(data) / "caisson/images"


# Images that differ from `caisson image build`'s default.
IMAGES = {"debian-std": ["--kernel-package", "linux-image-amd64"],
          "debian-612": ["--kernel-package", "linux-image-6.12-cloud-amd64"],
          "debian-stress": ["--size", "3G", "--include",
                            "stress-ng,openssl,python3-minimal,xz-utils,bzip2,zstd"]}


def ensure_image(name):
    """Build the image @name unless the store has it."""
    if (store() / name / "disk.raw").exists():
        return
    args = IMAGES.get(name, [])
    r = run_caisson("image", "build", name, *args, timeout=1800)
    if r.returncode:
        sys.exit(f"image '{name}' could not be built:\n{r.stderr}")
