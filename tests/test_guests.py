# SPDX-License-Identifier: Apache-2.0
"""Freestanding guests: each ends with success and prints the same on every engine."""
import pytest

from conftest import GUESTS, VM, kvm_usable

SUCCESS = 1  # the debug exit port: (0 << 1) | 1


def run_guest(name, engine, *args):
    with VM("--kernel", GUESTS / f"{name}.guest", "--engine", engine, "--memory", "64M",
            "--debug-exit", "--net", "none", "--quiet", *args) as vm:
        status = vm.wait()
        return status, vm.text()


@pytest.mark.parametrize("engine", ["interp", "kvm"])
@pytest.mark.parametrize("name,cpus", [("hello", 1), ("paging", 1), ("timer", 1), ("smp", 2)])
def test_guest_ends_with_success(name, cpus, engine):
    if engine == "kvm" and not kvm_usable():
        pytest.skip("/dev/kvm cannot be opened")
    status, text = run_guest(name, engine, "--cpus", cpus)
    assert status == SUCCESS, text


@pytest.mark.parametrize("name,cpus", [("paging", 1), ("timer", 1), ("smp", 2)])
def test_engines_agree_on_what_a_guest_sees(name, cpus):
    if not kvm_usable():
        pytest.skip("/dev/kvm cannot be opened")
    assert run_guest(name, "interp", "--cpus", cpus) == run_guest(name, "kvm", "--cpus", cpus)
