# SPDX-License-Identifier: Apache-2.0
"""What the long runs share.  The build folder is the first argument of each script."""
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


def store():
    if os.environ.get("CAISSON_HOME"):
        return pathlib.Path(os.environ["CAISSON_HOME"]) / "images"
    data = os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share"
    return pathlib.Path(data) / "caisson/images"


def ensure_image(name, kernel_package=None):
    """Build the image @name unless the store has it."""
    if (store() / name / "disk.raw").exists():
        return
    args = ["--kernel-package", kernel_package] if kernel_package else []
    r = run_caisson("image", "build", name, *args, timeout=1800)
    if r.returncode:
        sys.exit(f"image '{name}' could not be built:\n{r.stderr}")
