# SPDX-License-Identifier: Apache-2.0
"""What bench/engine runs: the workloads' programs, built by gcc, and the guest's initramfs.

The initramfs is an archive in cpio's newc format, written here: /init, the workloads, gcc's
cc1 and perl with their libraries as the host has them, and the kernel's virtio modules.
"""
import os
import pathlib
import shutil
import subprocess

SOURCES = pathlib.Path(__file__).resolve().parent / "workloads"
PACKAGES = {"/usr/include/zlib.h": "zlib1g-dev", "/usr/include/zstd.h": "libzstd-dev",
            "/usr/include/bzlib.h": "libbz2-dev", "/usr/include/sqlite3.h": "libsqlite3-dev",
            "/usr/include/lua5.4/lua.h": "liblua5.4-dev", "/usr/bin/gcc": "gcc",
            "/usr/include/openssl/evp.h": "libssl-dev", "/usr/include/libtcc.h": "libtcc-dev",
            "/usr/bin/zstd": "zstd"}


class BenchError(Exception):
    pass


def run_tool(*cmd, **kw):
    r = subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=300, **kw)
    if r.returncode:
        raise BenchError(f"{' '.join(map(str, cmd))}: {r.stderr.decode(errors='replace').strip()}")
    return r.stdout


def check_packages(args):
    missing = [pkg for path, pkg in PACKAGES.items() if not os.path.exists(path)]
    if "qemu" in args.systems and not shutil.which(args.qemu):
        missing.append("qemu-system-x86")
    if "other-qemu" in args.systems and not shutil.which(args.other_qemu):
        raise BenchError(f"--other-qemu {args.other_qemu}: there is no such program.")
    if missing:
        raise BenchError("Packages are missing; install them with: "
                         f"apt-get install --no-install-recommends {' '.join(missing)}")
    if "caisson" in args.systems and not (args.build / "caisson-vmm").exists():
        raise BenchError(f"{args.build}/caisson-vmm is not there; run make first, or name the "
                         "build's directory with --build.")
    if not (args.image / "kernel").exists():
        raise BenchError(f"The image {args.image} is not there; run make image first, or name "
                         "an image's directory with --image.")


def newer(target, sources):
    return target.exists() and all(target.stat().st_mtime > s.stat().st_mtime for s in sources)


def build_programs(out):
    """The workloads' binaries in @out; the same files run natively and in the guest."""
    sources = [*sorted(SOURCES.glob("*.[ch]")), pathlib.Path(__file__)]
    targets = [out / n for n in ("work", "init", "tiny-static", "tiny-dynamic")]
    cc1 = run_tool("gcc", "-print-prog-name=cc1").decode().strip()
    if all(newer(t, sources) for t in targets):
        return cc1
    work = [s for s in sources if s.suffix == ".c" and s.stem not in ("tiny", "init")]
    # the scalar rows stay scalar; vector.c has its vectors as intrinsics
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-fno-tree-vectorize", "-Wall", "-Wextra",
             f'-DCC1="{cc1}"']
    run_tool("gcc", *flags, "-static", "-o", out / "work", *work, "-ltcc", "-llua5.4", "-lsqlite3",
             "-lcrypto", "-lbz2", "-lzstd", "-lz", "-lm", "-lpthread")
    run_tool("gcc", *flags, "-static", "-o", out / "init", SOURCES / "init.c")
    run_tool("gcc", *flags, "-static", "-o", out / "tiny-static", SOURCES / "tiny.c")
    run_tool("gcc", *flags, "-DWITH_LIBRARIES", "-o", out / "tiny-dynamic", SOURCES / "tiny.c",
             "-lsqlite3", "-lz")
    return cc1


def cpio_entry(name, mode, data=b""):
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def make_cpio(files):
    """An archive of {path: bytes}, its directories included."""
    parts, done = [], set()
    for path in files:
        parents = [str(p) for p in pathlib.PurePath(path).parents][-2::-1]
        for parent in parents:
            if parent not in done:
                done.add(parent)
                parts.append(cpio_entry(parent, 0o040755))
        parts.append(cpio_entry(path, 0o100755, files[path]))
    for directory in ("dev", "proc", "tmp"):
        if directory not in done:
            parts.append(cpio_entry(directory, 0o040755))
    parts.append(cpio_entry("TRAILER!!!", 0))
    data = b"".join(parts)
    return data + b"\0" * (-len(data) % 512)


def read_cpio(data, wanted):
    """{path: bytes} of those regular files of a newc archive that @wanted accepts."""
    files, at = {}, 0
    while data[at:at + 6] == b"070701":
        size, length = int(data[at + 54:at + 62], 16), int(data[at + 94:at + 102], 16)
        name = data[at + 110:at + 110 + length - 1].decode()
        at = (at + 110 + length + 3) & ~3
        if name == "TRAILER!!!":
            break
        if size and wanted(name):
            files[name] = data[at:at + size]
        at = (at + size + 3) & ~3
    return files


def virtio_modules(image):
    """The modules of the image's initrd that a virtio disk and card need, in load order."""
    files = read_cpio(run_tool("zstd", "-qdc", image / "initrd"),
                      lambda n: n.endswith((".ko", "/modules.dep")))
    dep = next((n for n in files if n.endswith("/modules.dep")), None)
    if not dep:
        raise BenchError(f"{image}/initrd has no modules.dep")
    order = []
    for line in files[dep].decode().splitlines():
        name, _, needs = line.partition(":")
        if name.rsplit("/", 1)[-1] in ("virtio_pci.ko", "virtio_blk.ko", "virtio_net.ko"):
            order += [m for m in reversed([name] + needs.split()) if m not in order]
    base = dep.rsplit("/", 1)[0]
    return {f"modules/{m.rsplit('/', 1)[-1]}": files[f"{base}/{m}"] for m in order}


def guest_files(out, cc1):
    files = {"init": (out / "init").read_bytes()}
    for name in ("work", "tiny-static", "tiny-dynamic"):
        files[f"bench/{name}"] = (out / name).read_bytes()
    for program in (cc1, "/usr/bin/perl", out / "tiny-dynamic"):
        if not os.path.exists(program):
            continue
        if program != out / "tiny-dynamic":
            files[str(program).lstrip("/")] = pathlib.Path(program).read_bytes()
        for word in run_tool("ldd", program).decode().split():
            if word.startswith("/"):
                files[word.lstrip("/")] = pathlib.Path(word).read_bytes()
    return files
