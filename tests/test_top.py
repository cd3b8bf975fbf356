# SPDX-License-Identifier: Apache-2.0
"""caisson top: finding VMs, its table, its JSON, its terminal."""
import json
import os
import pty
import select
import subprocess
import termios
import time

import pytest

from conftest import CAISSON, GUESTS, QMP, VM, run_caisson


@pytest.fixture
def home(tmp_path, monkeypatch):
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("CAISSON_HOME", str(path))
    return path


def idle_vm(name, *args):
    vm = VM("--kernel", GUESTS / "idle.guest", "--memory", "32M", "--net", "none", "--engine",
            "soft", "--name", name, *args)
    vm.expect("idle")
    return vm


def top(*args):
    return run_caisson("top", "--interval", "0.2", *args)


def wait_for(path_is_there):
    deadline = time.monotonic() + 20
    while not path_is_there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_vm_is_one_sentence(home):
    for args in [], ["absent"], [home / "absent"]:
        r = top(*args)
        assert r.returncode == 1 and r.stderr.count("error:") == 1, r.stderr
        assert not args or "absent" in r.stderr


@pytest.mark.parametrize("args", [["--interval", "0"], ["--interval", "x"], ["--count", "0"],
                                  ["--bogus"], ["a", "b"], ["a", "--all"]])
def test_bad_options_are_named_with_status_2(home, args):
    r = run_caisson("top", *args)
    assert r.returncode == 2 and "error:" in r.stderr


def test_one_vm_is_shown_with_its_vcpus_within_80_columns(home):
    with idle_vm("probe", "--cpus", 2):
        for args in ["probe"], []:
            r = top("--once", *args)
            assert r.returncode == 0, r.stderr
            assert "probe" in r.stdout and "engine soft" in r.stdout and "Code cache" in r.stdout
            lines = r.stdout.splitlines()
            assert all(len(line) < 80 for line in lines)
            head = next(i for i, line in enumerate(lines) if line.startswith("VCPU"))
            assert [line.split()[0] for line in lines[head + 1:head + 4]] == ["all", "0", "1"]
            assert "TLBM/S" in lines[head]
            # the translator does not count instructions, and does not pretend to
            assert lines[head + 2].split()[3] == "-"


def test_vms_are_found_by_name_process_and_socket(home):
    with idle_vm("one") as a, idle_vm("two"), idle_vm("two"):
        rows = top("--once").stdout.splitlines()[1:]
        assert [row.split()[0] for row in rows if row] == ["one", "two", "two"]
        r = top("--once", "two")
        assert r.returncode == 1 and "2 VMs" in r.stderr
        assert "two" in top("--once", rows[1].split()[1]).stdout
        sockets = list((home / "run").glob("one.*"))
        assert len(sockets) == 1 and "one" in top("--once", sockets[0]).stdout
        a.proc.terminate()
        a.wait()
        assert not sockets[0].exists()
    assert (home / "run").stat().st_mode & 0o777 == 0o700


def test_socket_of_a_killed_vm_is_removed(home):
    with idle_vm("gone") as vm:
        (socket,) = (home / "run").glob("gone.*")
        pid = json.loads(top("--once", "--json").stdout)["pid"]
        os.kill(pid, 9)
        vm.wait()
    assert socket.exists()
    assert top("--once").returncode == 1
    assert not socket.exists()


def test_json_lines_have_rates_and_totals(home):
    with idle_vm("probe") as vm:
        r = top("--json", "--count", 3)
        lines = [json.loads(line) for line in r.stdout.splitlines()]
        assert len(lines) == 3
        for line in lines:
            assert (line["name"], line["engine"], line["status"]) == ("probe", "soft", "running")
            vcpu = line["vcpus"][0]
            assert vcpu["per-second"]["instructions"] is None
            assert vcpu["per-second"]["cpu-ns"] >= 0 and vcpu["exits-per-second"]["hlt"] >= 0
            assert line["memory"]["size"] == 32 << 20
            assert line["process-resident"] > 1 << 20
        totals = [line["totals"]["vcpus"][0] for line in lines]
        assert totals[0]["counters"]["lookups"] > 0
        assert totals[0]["exits"]["pio"] >= len("idle")
        for then, now in zip(totals, totals[1:]):
            for part in "counters", "exits":
                assert all(now[part][name] >= value for name, value in then[part].items()
                           if value is not None)
        vm.proc.terminate()
        vm.wait()


def test_interpreter_counts_instructions_and_has_no_translator(home, tmp_path):
    control = tmp_path / "control"
    with VM("--kernel", GUESTS / "idle.guest", "--memory", "32M", "--net", "none", "--engine",
            "interp", "--control", control) as vm:
        vm.expect("idle")
        qmp = QMP(control)
        qmp.command("qmp_capabilities")
        stats = qmp.command("query-vm-stats")["return"]
        assert stats["translator"] is None
        assert stats["vcpus"][0]["counters"]["instructions"] > 100
        assert stats["vcpus"][0]["counters"]["lookups"] is None
        assert stats["vcpus"][0]["counters"]["tlb-misses"] > 0
        qmp.command("stop")
        assert qmp.command("query-vm-stats")["return"]["vcpus"][0]["state"] == "paused"
        qmp.close()
        assert "interp" in top("--once", control).stdout


def test_counting_translator_shows_instructions(home):
    with idle_vm("counted", "--count"):
        line = json.loads(top("--json", "--once").stdout)
        assert line["vcpus"][0]["per-second"]["instructions"] >= 0
        assert line["totals"]["vcpus"][0]["counters"]["instructions"] > 1000
        row = top("--once").stdout.split("VCPU")[1].splitlines()[1]
        assert row.split()[3] != "-"


def test_terminal_is_as_before_after_q(home):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with idle_vm("probe") as vm:
        proc = subprocess.Popen([CAISSON, "top", "--interval", "0.2"], stdin=slave, stdout=slave,
                                stderr=slave)
        text = b""

        def more():
            nonlocal text
            if select.select([master], [], [], 0.1)[0]:
                text += os.read(master, 65536)
            return text

        wait_for(lambda: b"Code cache" in more())
        assert termios.tcgetattr(slave) != before
        os.write(master, b"q")
        wait_for(lambda: more() and proc.poll() is not None)
        assert proc.returncode == 0 and text.endswith(b"\033[?25h\033[?1049l")
        assert termios.tcgetattr(slave) == before
        # the VM's end ends the display, too
        proc = subprocess.Popen([CAISSON, "top", "--interval", "0.2"], stdin=slave, stdout=slave,
                                stderr=slave)
        wait_for(lambda: more().count(b"Code cache") > 2)
        vm.proc.terminate()
        wait_for(lambda: more() and proc.poll() is not None)
        assert b"the VM ended" in text
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
