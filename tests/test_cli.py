# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one sentence that names the object, the value and the remedy."""
import json
import os
import socket
import subprocess

import pytest

from conftest import CAISSON, GUESTS, QMP, VM, run_caisson

HELLO = GUESTS / "hello.guest"
TIMER = GUESTS / "idle.guest"


def fails(*args, status=None, says=()):
    r = run_caisson("run", "--console", "none", *args)
    lines = [line for line in r.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, r.stderr
    assert r.returncode in ((1, 2) if status is None else (status,)), r.stderr
    for word in says:
        assert str(word) in lines[0], r.stderr
    return lines[0]


def test_no_arguments_show_usage_with_status_2():
    r = run_caisson()
    assert r.returncode == 2 and "usage:" in r.stderr


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["image", "--help"],
                                  ["doctor", "--help"],
                                  ["top", "--help"]])
def test_help_goes_to_stdout_with_status_0(args):
    r = run_caisson(*args)
    assert r.returncode == 0 and "usage:" in r.stdout


def test_doctor_reports_as_table_and_json():
    assert "engine" in run_caisson("doctor").stdout
    names = {row["name"] for row in json.loads(run_caisson("doctor", "--json").stdout)}
    assert {"engine", "kvm", "io_uring", "tap", "huge-pages"} <= names


def test_images_are_listed_as_json_whatever_their_folder_is_called(tmp_path, monkeypatch):
    image = tmp_path / 'a "quoted" \\ folder' / "images" / "tiny"
    image.mkdir(parents=True)
    for name in ("kernel", "initrd", "append", "disk.raw"):
        (image / name).write_bytes(b"x" * 512)
    monkeypatch.setenv("CAISSON_HOME", str(image.parent.parent))
    rows = json.loads(run_caisson("image", "list", "--json").stdout)
    assert [(row["name"], row["path"], row["size"]) for row in rows] == [("tiny", str(image), 512)]


def test_missing_kernel_is_named(tmp_path):
    fails("--kernel", tmp_path / "absent", says=[tmp_path / "absent"])


def test_file_that_is_no_kernel_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_text("not a kernel\n" * 1000)
    fails("--kernel", path, says=[path])


def test_truncated_kernel_is_named(tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(HELLO.read_bytes()[:200])
    fails("--kernel", path, says=[path])


@pytest.mark.parametrize("value", ["15M", "0", "lots", "-5M", "900000G"])
def test_bad_memory_is_named(value):
    fails("--kernel", HELLO, "--memory", value, status=2, says=["--memory"])


@pytest.mark.parametrize("value", ["0", "65", "two", ""])
def test_bad_number_of_cpus_is_named(value):
    fails("--kernel", HELLO, "--cpus", value, status=2, says=["--cpus", "1 to 64"])


def test_unknown_cpu_model_lists_the_known_ones():
    fails("--kernel", HELLO, "--cpu", "i486", says=["i486", "x86-64-v2"])


def test_unknown_engine_is_named():
    fails("--kernel", HELLO, "--engine", "warp", says=["warp", "soft"])


def test_odd_disk_size_is_named(tmp_path):
    path = tmp_path / "odd.raw"
    path.write_bytes(b"x" * 1000)
    fails("--kernel", HELLO, "--disk", path, says=[path, "512"])


def test_missing_disk_is_named(tmp_path):
    fails("--kernel", HELLO, "--disk", tmp_path / "none.raw", says=[tmp_path / "none.raw"])


def test_disk_in_use_names_the_holder(tmp_disk, tmp_path):
    control = tmp_path / "ctl"
    with VM("--kernel", TIMER, "--memory", "32M", "--disk", tmp_disk, "--name", "holder",
            "--net", "none", "--control", control):
        QMP(control).close()
        fails("--kernel", HELLO, "--disk", tmp_disk, says=[tmp_disk, "holder"])


def test_forward_port_in_use_is_named():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        fails("--kernel", HELLO, "--net", f"user,forward={port}:22", says=[port])


def test_missing_tap_is_named():
    fails("--kernel", HELLO, "--net", "tap=nosuchtap0", says=["nosuchtap0"])


def test_unknown_image_is_named(tmp_path):
    r = run_caisson("run", "nosuchimage", env={**os.environ, "CAISSON_HOME": str(tmp_path)})
    assert r.returncode == 1 and "nosuchimage" in r.stderr


def test_unknown_option_is_named():
    fails("--kernel", HELLO, "--frobnicate", status=2, says=["--frobnicate"])


def test_poweroff_of_the_debug_port_gives_its_status():
    r = subprocess.run([CAISSON, "run", "--kernel", HELLO, "--debug-exit", "--net", "none"],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert r.returncode == 1
    assert b"hello from the guest" in r.stdout
