# SPDX-License-Identifier: Apache-2.0
"""The control socket in QMP's dialect."""
import pytest

from conftest import GUESTS, QMP, VM


@pytest.fixture
def idle(tmp_path, tmp_disk):
    control = tmp_path / "control"
    with VM("--kernel", GUESTS / "idle.guest", "--memory", "32M", "--cpus", 2, "--name", "probe",
            "--net", "none", "--disk", tmp_disk, "--control", control) as vm:
        vm.expect("idle")
        qmp = QMP(control)
        yield vm, qmp, control
        qmp.close()


def test_greeting_and_negotiation(idle):
    _, qmp, _ = idle
    assert "QMP" in qmp.greeting
    assert qmp.command("query-status")["error"]["class"] == "CommandNotFound"
    assert qmp.command("qmp_capabilities") == {"return": {}}
    assert qmp.command("qmp_capabilities")["error"]["class"] == "CommandNotFound"


def test_queries_answer_with_qapi_fields(idle):
    _, qmp, _ = idle
    qmp.command("qmp_capabilities")
    assert "package" in qmp.command("query-version")["return"]
    assert qmp.command("query-status")["return"] == {"running": True, "singlestep": False,
                                                     "status": "running"}
    assert qmp.command("query-name")["return"] == {"name": "probe"}
    cpus = qmp.command("query-cpus-fast")["return"]
    assert [c["cpu-index"] for c in cpus] == [0, 1]
    assert all(c["thread-id"] > 0 for c in cpus)
    assert qmp.command("query-block")["return"][0]["inserted"]["drv"] == "raw"
    names = {c["name"] for c in qmp.command("query-commands")["return"]}
    assert {"stop", "cont", "quit", "system_reset", "system_powerdown"} <= names


def test_stop_cont_and_reset_send_events(idle):
    vm, qmp, _ = idle
    qmp.command("qmp_capabilities")
    assert qmp.command("stop") == {"return": {}}
    qmp.wait_event("STOP")
    assert qmp.command("query-status")["return"]["status"] == "paused"
    assert qmp.command("cont") == {"return": {}}
    qmp.wait_event("RESUME")
    assert qmp.command("system_powerdown") == {"return": {}}
    qmp.wait_event("POWERDOWN")
    assert qmp.command("system_reset") == {"return": {}}
    qmp.wait_event("RESET")
    vm.expect("idle")


def test_mistakes_get_error_objects_never_a_disconnect(idle):
    _, qmp, _ = idle
    qmp.command("qmp_capabilities")
    for line in ["{", "[]", "nonsense", '"text"', "{}", '{"execute": 5}',
                 '{"execute": "query-status", "arguments": 7}',
                 '{"execute": "query-status", "extra": 1}',
                 '{"execute": "query-status", "arguments": {"x": 1}}', "x" * 100000]:
        assert "error" in qmp.send_line(line), line
    assert qmp.command("no-such")["error"]["class"] == "CommandNotFound"
    assert qmp.send_line('{"execute": "query-name", "id": [1]}')["id"] == [1]


def test_quit_ends_the_vm_with_status_0(idle):
    vm, qmp, control = idle
    qmp.command("qmp_capabilities")
    assert qmp.command("quit") == {"return": {}}
    qmp.wait_event("SHUTDOWN")
    assert vm.wait() == 0
    assert not control.exists()
