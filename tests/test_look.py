# SPDX-License-Identifier: Apache-2.0
"""Looking into the translator: -d ops,ir,asm and --perf-map, inside the sandbox."""
import json
import os
import re

import pytest

from conftest import GUESTS, VM, run_caisson

HELLO = GUESTS / "hello.guest"


def run_hello(*args, engine="soft"):
    return run_caisson("run", "--kernel", HELLO, "--engine", engine, "--memory", "32M", "--net",
                       "none", "--debug-exit", "--quiet", "--console", "none", *args)


def test_each_pass_of_each_block_is_dumped_to_a_file(tmp_path):
    path = tmp_path / "dump"
    r = run_hello("-d", "ops,ir,asm", "--dump-file", path)
    assert r.returncode == 1 and r.stderr == "", r.stderr
    blocks = path.read_text().split("\n\n")
    assert len(blocks) > 5 and blocks.pop() == ""
    for block in blocks:
        head = re.match(r"block ([0-9a-f]{16}) supervisor.*: (\d+) instructions, ", block)
        assert head, block
        ops, ir = re.search(r"^  ops\n(.*)^  ir\n[^\n]*\n(.*)^  asm at", block, re.M | re.S).groups()
        assert ops.split()[0] == head[1]
        assert ops.count("\n") == ir.count("\n") == int(head[2])
        assert "(bad)" not in block
        assert all(line.isascii() and line.isprintable() for line in block.splitlines())


def test_dump_goes_to_stderr_without_a_file():
    r = run_hello("-d", "guest,ops")
    assert r.returncode == 1
    assert "  ops\n" in r.stderr and "  ir\n" not in r.stderr
    assert "  asm at" in run_hello("--dump", "asm").stderr


def test_range_and_bound_make_a_dump_smaller(tmp_path):
    path = tmp_path / "dump"
    run_hello("-d", "ops", "--dump-file", path)
    addresses = re.findall(r"^block (\w+)", path.read_text(), re.M)
    run_hello("-d", "ops", "--dump-file", path, "--dump-range", f"0x{addresses[3]}")
    assert set(re.findall(r"^block (\w+)", path.read_text(), re.M)) <= set(addresses)
    assert path.read_text().count("block ") < len(addresses)
    assert addresses[3] in path.read_text()
    r = run_hello("-d", "ops", "--dump-file", path, "--dump-max", "2K")
    assert path.stat().st_size <= 2048 and "left out" in r.stderr


@pytest.mark.parametrize("args", [["--dump", "int"], ["-d", "bogus"], ["--dump-range", "z"],
                                  ["--dump-range", "20-10"], ["--dump-range", "1-"],
                                  ["--dump-max", "x"], ["--dump-max", "0"]])
def test_bad_values_are_named(args):
    r = run_hello(*args)
    assert r.returncode == 2 and f"{args[0]} {args[1]}" in r.stderr


@pytest.mark.parametrize("args", [["-d", "asm"], ["--perf-map"]])
def test_what_does_not_translate_says_so(args):
    r = run_hello(*args, engine="interp")
    assert r.returncode == 1 and "only engine soft" in r.stderr and args[0] in r.stderr


def test_file_that_cannot_be_written_is_named(tmp_path):
    r = run_hello("-d", "asm", "--dump-file", tmp_path / "absent" / "dump")
    assert r.returncode == 1 and "absent/dump" in r.stderr


def test_perf_map_names_code_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CAISSON_HOME", str(tmp_path))
    with VM("--kernel", GUESTS / "idle.guest", "--memory", "32M", "--net", "none", "--engine",
            "soft", "--name", "mapped", "--perf-map") as vm:
        vm.expect("idle")
        pid = json.loads(run_caisson("top", "mapped", "--once", "--json", "--interval",
                                     "0.1").stdout)["pid"]
        path = f"/tmp/perf-{pid}.map"
        # perf takes what looks anonymous to it only
        with open(f"/proc/{pid}/maps") as f:
            code = [line.split() for line in f if "/dev/zero" in line and "r-xs" in line]
        assert len(code) == 1
        low, high = (int(x, 16) for x in code[0][0].split("-"))
        with open(path) as f:
            lines = f.read().splitlines()
        assert os.stat(path).st_uid == os.geteuid()
        assert lines[0].endswith(" caisson_translator_glue") and len(lines) > 5
        end = low
        for line in lines:
            start, size = (int(x, 16) for x in line.split()[:2])
            assert end <= start and start + size <= high
            end = start + size
        assert all(re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ guest_0x[0-9a-f]+_[uk]", line)
                   for line in lines[1:])
    os.unlink(path)
