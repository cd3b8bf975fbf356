# SPDX-License-Identifier: Apache-2.0
"""A real, unmodified Debian: boots, works, powers off, survives being rebuilt."""
import os
import random
import socket
import subprocess


from conftest import BUILD, VM


def image_files(images):
    d = images / "debian"
    return d / "kernel", d / "initrd", d / "disk.raw", (d / "append").read_text().strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(port):
    """What a server on the forwarded port answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(b"from the host\n")
        s.shutdown(socket.SHUT_WR)
        return s.makefile("rb").read()


ECHO_SERVER = ("perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => 8080, "
               "Listen => 1, ReuseAddr => 1) or die; print \"listening\\n\"; "
               "my $c = $s->accept; my $l = <$c>; print $c \"guest got: $l\"; close $c'")


def test_debian_boots_works_and_powers_off(images):
    port = free_port()
    with VM("debian", "--engine", "soft", "--cpus", 2, "--memory", "512M", "--ephemeral",
            "--net", f"user,forward={port}:8080") as vm:
        vm.login()
        assert vm.run("nproc")[1].strip() == "2"
        status, text = vm.run("dmesg -l warn,err,crit,alert,emerg")
        assert status == 0
        print(text)
        # CPU and memory give right answers
        assert "cbf43926" in vm.run("printf 123456789 | perl -e '$_ = <STDIN>; my $c = 0xffffffff; "
                                    "for my $b (unpack \"C*\", $_) { $c ^= $b; for (1..8) "
                                    "{ $c = $c & 1 ? ($c >> 1) ^ 0xedb88320 : $c >> 1 } "
                                    "$c &= 0xffffffff } printf \"%08x\\n\", ~$c & 0xffffffff'")[1]
        assert vm.run("dd if=/dev/urandom of=/root/f bs=1M count=16 status=none && sync && "
                      "sha256sum /root/f > /root/sum && echo 3 > /proc/sys/vm/drop_caches && "
                      "sha256sum -c /root/sum", 240)[0] == 0
        assert vm.run("test -e /dev/hwrng && head -c 16 /dev/hwrng | wc -c")[0] == 0
        # the network came up by itself, and a forward leads in
        assert vm.run("for i in $(seq 60); do ip -4 addr show | grep -q 10.0.2.15 && break; "
                      "sleep 1; done; ip -4 addr show | grep 10.0.2.15", 120)[0] == 0
        vm.send(ECHO_SERVER + "; echo served\n")
        vm.expect("^listening")
        assert fetch(port) == b"guest got: from the host\n"
        vm.expect("^served")
        vm.send("poweroff\n")
        assert vm.wait(240) == 0


def test_booting_debian_survives_save_teardown_and_rebuild(images, tmp_path):
    kernel, initrd, disk, append = image_files(images)
    copy = tmp_path / "disk.raw"
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    r = subprocess.run([BUILD / "tests" / "snapshot" / "snapshot", kernel, initrd, copy, append,
                        tmp_path / "console", "login:", "2", "6", str(seed), "interp"],
                       capture_output=True, text=True, timeout=900)
    print(r.stdout)
    console = tmp_path / "console"
    tail = console.read_text(errors="replace")[-2000:] if console.exists() else ""
    assert r.returncode == 0, f"seed {seed}\n{r.stdout}\n{r.stderr}\n{tail}"
    assert "round 3" in r.stdout
