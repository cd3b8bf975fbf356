# SPDX-License-Identifier: Apache-2.0
"""Freestanding guests: each ends with success and prints the same on every engine."""
import os
import pathlib
import random
import re
import subprocess

import pytest

from conftest import BUILD, GUESTS, VM, kvm_usable

SUCCESS = 1  # the debug exit port: (0 << 1) | 1
DISK_BYTES = 1 << 20
GUESTS_CPUS = [("hello", 1), ("paging", 1), ("timer", 1), ("smp", 2), ("exceptions", 1),
               ("user", 1), ("state", 1), ("virtio", 2)]


def need_kvm(name=None):
    if not kvm_usable():
        pytest.skip("/dev/kvm cannot be opened")
    hardware = re.search(r"^flags.*\b(vmx|svm)\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    if name == "user" and not hardware:
        pytest.skip("this host's KVM emulates guests, and not SYSCALL and INT of ring 3")


def fill_disk(disk):
    disk.write_bytes(bytes(i * 31 & 0xff for i in range(4096)) * (DISK_BYTES // 4096))


def run_guest(name, engine, *args, disk=None):
    if disk:
        fill_disk(disk)
        args += ("--disk", disk)
    with VM("--kernel", GUESTS / f"{name}.guest", "--engine", engine, "--memory", "64M",
            "--debug-exit", "--net", "none", "--quiet", *args) as vm:
        status = vm.wait()
        return status, vm.text()


@pytest.mark.parametrize("engine", ["interp", "kvm"])
@pytest.mark.parametrize("name,cpus", GUESTS_CPUS)
def test_guest_ends_with_success(name, cpus, engine, tmp_path):
    if engine == "kvm":
        need_kvm(name)
    disk = tmp_path / "disk.raw" if name == "virtio" else None
    status, text = run_guest(name, engine, "--cpus", cpus, disk=disk)
    assert status == SUCCESS, text
    assert text.endswith(f"{name} done\n") or name == "hello"
    if disk:
        expected = bytes(i * 7 + (i >> 8) & 0xff for i in range(4096))
        assert disk.read_bytes()[4096:8192] == expected


@pytest.mark.parametrize("engine", ["soft", "interp"])
def test_a_kick_that_comes_before_the_halt_ends_it(engine):
    status, text = run_guest("smp", engine, "--cpus", 2, "--append", "kick=1")
    assert status == SUCCESS and text.endswith("smp done\n"), text


def counted(name, engine):
    """How many instructions --count says @name retired on each vCPU."""
    with VM("--kernel", GUESTS / f"{name}.guest", "--engine", engine, "--memory", "64M",
            "--debug-exit", "--net", "none", "--quiet", "--count") as vm:
        assert vm.wait() == SUCCESS, vm.text()
        return re.findall(r"cpu(\d+): (\d+) instructions", vm.proc.stderr.read().decode())


@pytest.mark.parametrize("name", ["hello", "paging", "user"])
def test_a_guest_without_interrupts_retires_the_same_number_of_instructions(name):
    first = counted(name, "soft")
    assert len(first) == 1 and first[0][0] == "0" and int(first[0][1]) > 1000
    assert counted(name, "soft") == first
    assert counted(name, "interp") == first


def test_kvm_refuses_to_count():
    r = subprocess.run([BUILD / "caisson-vmm", "--kernel", GUESTS / "hello.guest", "--engine",
                        "kvm", "--count"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 2
    assert "engine kvm cannot count" in r.stderr


@pytest.mark.parametrize("name,cpus", [g for g in GUESTS_CPUS if g[0] != "hello"])
def test_engines_agree_on_what_a_guest_sees(name, cpus, tmp_path):
    need_kvm(name)
    disk = tmp_path / "disk.raw" if name == "virtio" else None
    seen = [run_guest(name, engine, "--cpus", cpus, disk=disk) for engine in ("interp", "kvm")]
    assert seen[0] == seen[1]


# A few rounds only; CAISSON_LITMUS_ROUNDS asks for a long run.
LITMUS_ROUNDS = {"litmus": 20, "litmus_atomic": 3000, "litmus_code": 25}


@pytest.mark.parametrize("engine", ["interp", "soft"])
@pytest.mark.parametrize("cpus", [2, 4])
@pytest.mark.parametrize("name", LITMUS_ROUNDS)
def test_processors_see_memory_and_code_as_x86_orders_it(name, cpus, engine):
    rounds = os.environ.get("CAISSON_LITMUS_ROUNDS", LITMUS_ROUNDS[name])
    with VM("--kernel", GUESTS / f"{name}.guest", "--engine", engine, "--memory", "64M",
            "--debug-exit", "--net", "none", "--quiet", "--cpus", cpus,
            "--append", f"cpus={cpus} rounds={rounds}", timeout=300) as vm:
        status = vm.wait(7200 if "CAISSON_LITMUS_ROUNDS" in os.environ else None)
        text = vm.text()
    print(text)  # how often each outcome was seen
    assert status == SUCCESS, text
    assert text.endswith(f"PASS\n{name} done\n")


ROUTES = ["interp:500,interp:500", "interp:500,kvm:20000", "kvm:5000,interp:500",
          "kvm:1000,kvm:1000"]
MOVES = [(name, cpus, append, engines)
         for name, cpus, append in [("state", 1, "rounds=100"), ("timer", 1, ""), ("ticks", 1, ""),
                                    ("smp", 2, ""), ("exceptions", 1, ""), ("virtio", 1, "")]
         for engines in ROUTES]


@pytest.mark.parametrize("name,cpus,append,engines", MOVES)
def test_a_guest_moved_between_engines_sees_nothing_of_it(name, cpus, append, engines, tmp_path):
    if "kvm" in engines:
        need_kvm(name)
    disk = tmp_path / "disk.raw" if name == "virtio" else None
    reference = run_guest(name, "interp", "--cpus", cpus, "--append", append, disk=disk)
    if disk:
        fill_disk(disk)
    seed, console = random.randrange(1 << 32), tmp_path / "console"
    moved = subprocess.run([BUILD / "tests" / "snapshot" / "move", GUESTS / f"{name}.guest",
                            console, str(cpus), disk or "-", append, "40", str(seed), engines],
                           text=True, capture_output=True, timeout=300)
    print(moved.stdout, moved.stderr)  # the seed
    assert (moved.returncode, console.read_text().replace("\r", "")) == reference
