// SPDX-License-Identifier: Apache-2.0
/*
 * system.c - rows that are mostly the kernel: system calls, processes, faults, signals; and
 * code that writes code.
 */
#include "work.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static uint64_t work_syscall(struct run *run)
{
	uint64_t bad = 0;
	pid_t parent = getppid();

	for (unsigned i = 0; i < run->n; i++)
		bad += syscall(SYS_getppid) != parent;
	return mix(run->n, bad);
}

static uint64_t work_read_write(struct run *run)
{
	char name[] = "/tmp/bench-XXXXXX", buf[4096];
	int fd = mkstemp(name);
	uint64_t sum = 0;

	if (fd < 0)
		fail(name);
	unlink(name);
	memset(buf, 7, sizeof(buf));
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		off_t at = (off_t)(i % 64) * 4096;

		buf[i % 4096]++;
		if (pwrite(fd, buf, 4096, at) != 4096 || pread(fd, buf, 4096, at) != 4096)
			fail("pwrite, pread");
		sum += (unsigned char)buf[i % 4096];
	}
	run_stop(run);
	close(fd);
	return sum;
}

static uint64_t work_fork(struct run *run)
{
	uint64_t sum = 0;
	int status;

	for (unsigned i = 0; i < run->n; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit((int)i & 63);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			fail("fork");
		sum += (unsigned)WEXITSTATUS(status);
	}
	return sum;
}

/* Run a program to its end; returns its exit status.  vfork() wants a function of its own. */
static unsigned spawn(const char *path, char **argv, char **env)
{
	int status;
	pid_t pid = vfork();

	if (!pid) {
		execve(path, argv, env);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("exec");
	return (unsigned)WEXITSTATUS(status);
}

static uint64_t exec_many(struct run *run, const char *name)
{
	char path[256];
	char *argv[] = {(char *)name, NULL}, *env[] = {NULL};
	uint64_t sum = 0;

	bench_file(path, name);
	if (access(path, X_OK))
		fail(path);
	for (unsigned i = 0; i < run->n; i++)
		sum += spawn(path, argv, env);
	return sum;
}

static uint64_t work_exec_static(struct run *run)
{
	return exec_many(run, "tiny-static");
}

static uint64_t work_exec_dynamic(struct run *run)
{
	return exec_many(run, "tiny-dynamic");
}

static uint64_t work_pipe(struct run *run)
{
	int there[2], back[2];
	uint64_t token = 1, sum = 0;
	pid_t pid;

	if (pipe(there) || pipe(back))
		fail("pipe");
	pid = fork();
	if (!pid) {
		close(there[1]);
		while (read(there[0], &token, 8) == 8) {
			token = mix(token, 1);
			if (write(back[1], &token, 8) != 8)
				break;
		}
		_exit(0);
	}
	close(there[0]);
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		if (write(there[1], &token, 8) != 8 || read(back[0], &token, 8) != 8)
			fail("ping-pong");
		sum ^= token;
	}
	run_stop(run);
	close(there[1]);
	waitpid(pid, NULL, 0);
	return sum;
}

/* Two processes on one CPU that only give way to each other. */
static uint64_t work_yield(struct run *run)
{
	unsigned *turns =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (turns == MAP_FAILED)
		fail("mmap");
	pid = fork();
	for (unsigned i = 0; i < run->n; i++) {
		__atomic_fetch_add(turns, 1, __ATOMIC_RELAXED);
		syscall(SYS_sched_yield);
	}
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return *turns;
}

static uint64_t work_page_fault(struct run *run)
{
	enum { BYTES = 1 << 20 };
	uint64_t sum = 0;

	for (unsigned i = 0; i < run->n; i++) {
		unsigned char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			fail("mmap");
		madvise(p, BYTES, MADV_NOHUGEPAGE);
		for (unsigned at = 0; at < BYTES; at += 4096)
			sum += p[at]++ + i;
		munmap(p, BYTES);
	}
	return sum;
}

static uint64_t work_mprotect(struct run *run)
{
	unsigned char *p = must_alloc(64 << 10);
	uint64_t sum = 0;

	for (unsigned i = 0; i < run->n; i++) {
		unsigned char *page = p + (i % 16) * 4096;

		if (mprotect(page, 4096, PROT_READ) || mprotect(page, 4096, PROT_READ | PROT_WRITE))
			fail("mprotect");
		sum += ++*page;
	}
	return sum;
}

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static uint64_t work_signal(struct run *run)
{
	struct sigaction act = {.sa_handler = count_signal};

	sigaction(SIGUSR1, &act, NULL);
	for (unsigned i = 0; i < run->n; i++)
		raise(SIGUSR1);
	return (uint64_t)signals;
}

/* SIGSEGV, as garbage collectors and emulators use it: the handler opens the page. */
static void open_page(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	signals++;
	if (mprotect((void *)((uintptr_t)info->si_addr & ~4095UL), 4096, PROT_READ | PROT_WRITE))
		_exit(1);
}

static uint64_t work_segv(struct run *run)
{
	struct sigaction act = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO};
	volatile unsigned char *p = must_alloc(4096);

	sigaction(SIGSEGV, &act, NULL);
	for (unsigned i = 0; i < run->n; i++) {
		if (mprotect((void *)p, 4096, PROT_READ))
			fail("mprotect");
		++*p;
	}
	return mix((uint64_t)signals, *p);
}

/* Write a function of a few instructions and call it, over and over in the same place. */
static uint64_t work_self_write(struct run *run)
{
	/* mov eax, edi; add eax, imm32; xor eax, imm32; ret */
	static const unsigned char code[] = {0x89, 0xf8, 0x05, 0, 0, 0, 0, 0x35, 0, 0, 0, 0, 0xc3};
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t (*call)(uint32_t);
	uint32_t value = 1;

	if (page == MAP_FAILED)
		fail("mmap");
	memcpy(page, code, sizeof(code));
	memcpy(&call, &page, sizeof(call));
	for (unsigned i = 0; i < run->n; i++) {
		memcpy(page + 3, &i, 4);
		memcpy(page + 8, &value, 4);
		__asm__ volatile("" ::: "memory");
		value = call(value) * 5 + 1;
	}
	return value;
}

/* As a JIT compiler does: append functions to fresh memory, call each some times. */
static uint64_t work_jit(struct run *run)
{
	static const unsigned char code[] = {0x89, 0xf8, 0x05, 0, 0, 0, 0, 0x35, 0, 0, 0, 0, 0xc3};
	enum { BYTES = 1 << 20 };
	unsigned char *area = mmap(NULL, BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t value = 1;

	if (area == MAP_FAILED)
		fail("mmap");
	for (unsigned i = 0; i < run->n; i++) {
		unsigned char *at = area + i * 64UL % BYTES;
		uint32_t (*call)(uint32_t);

		memcpy(at, code, sizeof(code));
		memcpy(at + 3, &i, 4);
		memcpy(&call, &at, sizeof(call));
		__asm__ volatile("" ::: "memory");
		for (int k = 0; k < 20; k++)
			value = call(value) * 5 + 1;
	}
	return value;
}

const struct workload system_workloads[] = {
	{"syscall", 300000, work_syscall},
	{"read-write", 40000, work_read_write},
	{"fork-wait", 400, work_fork},
	{"exec-static", 100, work_exec_static},
	{"exec-dynamic", 30, work_exec_dynamic},
	{"pipe", 10000, work_pipe},
	{"yield", 30000, work_yield},
	{"page-fault", 120, work_page_fault},
	{"mprotect", 10000, work_mprotect},
	{"signal", 30000, work_signal},
	{"segv", 6000, work_segv},
	{"self-write", 240000, work_self_write},
	{"jit", 120000, work_jit},
	{0},
};
