/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - see sandbox.h.
 *
 * The filters are lists of what each kind of thread does after the machine was
 * built; anything else ends the process (SIGSYS).  All kinds share what glibc's
 * locks, allocator and abort() need.  Only the network thread may create sockets
 * (the user-mode NAT is made of them) and open files, and those only by path in the
 * new root, which holds a copy of resolv.conf and nothing else.
 */
#include "vmm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"

static const int common_calls[] = {
	SCMP_SYS(futex),
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(readv),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(madvise),
	SCMP_SYS(mremap),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(gettid),
	SCMP_SYS(getpid),
	SCMP_SYS(tgkill),
	SCMP_SYS(sched_yield),
	SCMP_SYS(getrandom),
	SCMP_SYS(membarrier),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(lseek),
	SCMP_SYS(sched_getaffinity),
};

static const int loop_calls[] = {
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(fcntl),
	SCMP_SYS(eventfd2),   SCMP_SYS(poll),	     SCMP_SYS(ppoll),
};

static const int io_calls[] = {
	SCMP_SYS(io_uring_enter), SCMP_SYS(preadv),    SCMP_SYS(pwritev),  SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),	  SCMP_SYS(pread64),   SCMP_SYS(pwrite64), SCMP_SYS(fdatasync),
	SCMP_SYS(fsync),	  SCMP_SYS(fallocate),
};

static const int net_calls[] = {
	SCMP_SYS(socket),   SCMP_SYS(connect),	   SCMP_SYS(bind),	  SCMP_SYS(listen),
	SCMP_SYS(accept),   SCMP_SYS(accept4),	   SCMP_SYS(sendto),	  SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),	   SCMP_SYS(setsockopt),  SCMP_SYS(getsockopt),
	SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(stat),
	SCMP_SYS(uname),
};

static const int main_calls[] = {
	SCMP_SYS(accept4),	  SCMP_SYS(sendto),    SCMP_SYS(recvfrom), SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),	  SCMP_SYS(fallocate), SCMP_SYS(lstat),	   SCMP_SYS(shutdown),
	SCMP_SYS(io_uring_enter), SCMP_SYS(fdatasync), SCMP_SYS(kill),	   SCMP_SYS(wait4),
	SCMP_SYS(pread64), /* a reset loads the kernel again */
};

enum { KVMIO_TYPE = 0xae00, IOCTL_TYPE_MASK = 0xff00 };

static int allow_list(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Memory may be mapped, but never made executable. */
static int allow_memory(scmp_filter_ctx ctx)
{
	int ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return ret;
}

/* KVM's own ioctls, on any of our descriptors. */
static int allow_kvm(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				SCMP_A1(SCMP_CMP_MASKED_EQ, IOCTL_TYPE_MASK, KVMIO_TYPE));
}

static int allow_ioctls(scmp_filter_ctx ctx, const unsigned long *cmds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					   SCMP_A1(SCMP_CMP_EQ, cmds[i]));

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int allow_net(scmp_filter_ctx ctx)
{
	static const unsigned long cmds[] = {FIONREAD, FIONBIO, 0x400454d0UL /* TUNSETOFFLOAD */};
	int ret = allow_list(ctx, net_calls, ARRAY_SIZE(net_calls));

	if (!ret)
		ret = allow_ioctls(ctx, cmds, ARRAY_SIZE(cmds));
	/* by path only: no descriptor leads out of the new root */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2,
				       SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)AT_FDCWD),
				       SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, O_RDONLY));
	return ret;
}

static int allow_main(scmp_filter_ctx ctx)
{
	static const unsigned long cmds[] = {FIONREAD, TCGETS,	   TCSETS,   TCSETSW,
					     TCSETSF,  TIOCGWINSZ, TIOCGPGRP};
	int ret = allow_list(ctx, main_calls, ARRAY_SIZE(main_calls));

	return ret ? ret : allow_ioctls(ctx, cmds, ARRAY_SIZE(cmds));
}

static int allow_kind(scmp_filter_ctx ctx, const char *kind)
{
	int ret = allow_list(ctx, common_calls, ARRAY_SIZE(common_calls));

	if (!ret)
		ret = allow_memory(ctx);
	if (!ret)
		ret = allow_kvm(ctx);
	if (!ret && strcmp(kind, "vcpu") != 0)
		ret = allow_list(ctx, loop_calls, ARRAY_SIZE(loop_calls));
	if (!ret && !strcmp(kind, "io"))
		ret = allow_list(ctx, io_calls, ARRAY_SIZE(io_calls));
	if (!ret && !strcmp(kind, "net"))
		ret = allow_net(ctx);
	if (!ret && !strcmp(kind, "main"))
		ret = allow_main(ctx);
	return ret;
}

/* Capabilities are a thread's own, as filters are. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap);
	return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

int sandbox_thread(const char *kind)
{
	scmp_filter_ctx ctx;
	int ret = drop_capabilities();

	if (ret)
		return ret;
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return -ENOMEM;
	ret = allow_kind(ctx, kind);
	if (!ret)
		ret = seccomp_load(ctx); /* sets no_new_privs too */
	seccomp_release(ctx);
	return ret;
}

/* --- namespaces and root ------------------------------------------------------------ */

static void write_file(const char *path, const char *text)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* a refusal leaves the process as it was: the filter still stands */
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return;
}

static void enter_user_namespace(void)
{
	unsigned uid = getuid(), gid = getgid();
	char map[64];

	if (unshare(CLONE_NEWUSER) < 0)
		return;
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	write_file("/proc/self/gid_map", map);
}

void sandbox_namespaces(void)
{
	if (geteuid() != 0)
		enter_user_namespace();
	if (unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (unshare(CLONE_NEWIPC) < 0 || unshare(CLONE_NEWUTS) < 0)
		log_debug(LOG_BOOT, "no IPC or UTS namespace of its own");
}

/* resolv.conf for the user-mode NAT, which reads it again when it changes. */
static void copy_resolv_conf(const char *root)
{
	char path[128], buf[4096];
	AUTO_FD int in = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	snprintf(path, sizeof(path), "%s/etc", root);
	if (in < 0 || mkdir(path, 0755) < 0)
		return;
	snprintf(path, sizeof(path), "%s/etc/resolv.conf", root);
	AUTO_FD int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	while (out >= 0 && (n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			break;
}

/* A tmpfs becomes the root; what was there is unmounted.  Needs the mount namespace. */
static bool empty_root(void)
{
	static const char dir[] = "/tmp";

	if (mount("caisson", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755") <
	    0)
		return false;
	copy_resolv_conf(dir);
	if (chdir(dir) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return false;
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_BIND,
	      NULL);
	return true;
}

int sandbox_process(struct errbuf *err)
{
	int ret;

	if (!empty_root())
		log_debug(LOG_BOOT, "no root of its own: %m");
	prctl(PR_SET_DUMPABLE, 0);
	ret = sandbox_thread("main");
	if (ret)
		return err_set(err, ret, "sandbox: %s; --sandbox off runs without", strerror(-ret));
	return 0;
}
