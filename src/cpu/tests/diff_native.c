/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_native.c - the native side: a child process that runs cases on the host's CPU.
 *
 * Parent and child share the arrays of cases and results.  The child maps the test
 * pages at their fixed addresses (the code pages twice: executable there, writable
 * elsewhere), so that a stray store harms only it; the parent notices a dead or
 * hanging child and starts another.
 */
#include <asm/ldt.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cpu/tests/diff_native.h"
#include "cpu/tests/diff_proc.h"

enum { XSTATE_BV = 512, YMMH = 576 };

struct shared { /* one writer at a time: parent, or child during a batch */
	struct diff_case cases[DIFF_BATCH];
	struct diff_result results[DIFF_BATCH];
	unsigned count;
	unsigned at; /* case the child is at; read after it hung */
};

struct diff_native { /* owner: the parent's thread */
	struct shared *sh;
	struct diff_proc proc;
	struct diff_pages pages; /* the child's */
	bool has_16bit;
};

/* --- one case ---------------------------------------------------------------------- */

/* Copy an XSAVE image (standard form) out; components not in use hold initial values. */
static void from_image(const uint8_t *img, bool has_avx, struct diff_result *r)
{
	uint64_t in_use = ~0ULL;

	memcpy(&r->fx, img, sizeof(r->fx));
	if (has_avx)
		memcpy(&in_use, img + XSTATE_BV, 8);
	if (!(in_use & XCR0_X87)) {
		memset(&r->fx, 0, offsetof(struct cpu_fxsave, mxcsr));
		memset(r->fx.st, 0, sizeof(r->fx.st));
		r->fx.fcw = 0x37f;
	}
	if (!(in_use & XCR0_SSE))
		memset(r->fx.xmm, 0, sizeof(r->fx.xmm));
	memset(r->ymmh, 0, sizeof(r->ymmh));
	if (has_avx && in_use & XCR0_AVX)
		memcpy(r->ymmh, img + YMMH, sizeof(r->ymmh));
}

bool diff_trapped(const struct diff_trap *t, uint64_t *rip, uint64_t *rsp)
{
	struct run_area *a = run_area();
	struct diff_result *r = a->active;

	if (!r)
		return false;
	a->active = NULL;
	memcpy(r->gpr, t->gpr, sizeof(r->gpr));
	from_image(t->fpstate, t->has_avx, r);
	r->rip = t->rip;
	r->rflags = t->rflags;
	r->cs = t->cs;
	r->ss = t->ss;
	r->error = (uint32_t)t->error;
	r->vector = (int32_t)t->vector;
	r->cr2 = r->vector == EXC_PF ? t->cr2 : 0;
	*rip = (uintptr_t)diff_resume;
	*rsp = a->host_rsp;
	return true;
}

static void load_run_area(const struct diff_case *c)
{
	struct run_area *a = run_area();
	uint64_t all = XCR0_X87 | XCR0_SSE | XCR0_AVX;

	memcpy(a->gpr, c->gpr, sizeof(a->gpr));
	a->rip = c->code_at - diff_seg_base(c, SEG_CS);
	a->cs = c->mode == MODE_64 ? DIFF_CS64 : c->mode == MODE_32 ? DIFF_CS32 : DIFF_CS16;
	a->rflags = c->rflags;
	a->rsp = c->gpr[GPR_RSP];
	a->ss = a->data_sel = c->mode == MODE_16 ? DIFF_DS16 : DIFF_DS;
	a->fsbase = c->fsbase;
	a->gsbase = c->gsbase;
	memcpy(a->xin, &c->fx, sizeof(c->fx));
	memset(a->xin + XSTATE_BV, 0, 64);
	memcpy(a->xin + XSTATE_BV, &all, 8);
	memcpy(a->xin + YMMH, c->ymmh, sizeof(c->ymmh));
}

/* It ran to its end: what the trampoline stored. */
static void from_run_area(const struct diff_case *c, struct diff_result *r)
{
	struct run_area *a = run_area();

	memcpy(r->gpr, a->gpr, sizeof(r->gpr));
	r->rip = a->rip + c->nbytes;
	r->rflags = a->out_rflags;
	r->cs = (uint16_t)a->cs;
	r->ss = (uint16_t)a->out_ss;
	from_image(a->xout, true, r);
}

static void run_case(const struct diff_pages *pages, const struct diff_case *c,
		     struct diff_result *r)
{
	struct run_area *a = run_area();

	diff_place(pages, c);
	load_run_area(c);
	*r = (struct diff_result){.vector = VEC_NONE};
	a->active = r;
	diff_run_native();
	if (a->active)
		from_run_area(c, r);
	a->active = NULL;
	r->ds = a->out_ds;
	r->es = a->out_es;
	r->fs = a->out_fs;
	r->gs = a->out_gs;
	r->fsbase = a->out_fsbase;
	r->gsbase = a->out_gsbase;
	diff_collect(pages, c, r);
}

static void run_batch(void *arg)
{
	struct diff_native *n = arg;
	struct shared *sh = n->sh;

	for (unsigned k = 0; k < sh->count; k++) {
		__atomic_store_n(&sh->at, k, __ATOMIC_RELAXED);
		run_case(&n->pages, &sh->cases[k], &sh->results[k]);
	}
}

/* --- the child's pages ----------------------------------------------------------------- */

static void *map_at(uintptr_t at, size_t len, int prot, int fd)
{
	int flags = MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *p = mmap((void *)at, len, prot, flags, fd, 0);

	return p == (void *)at ? p : NULL;
}

/* Executable at its address, writable at the address returned. */
static uint8_t *map_code(uintptr_t at, size_t len)
{
	int fd = memfd_create("diff-code", 0);
	void *w;

	if (fd < 0 || ftruncate(fd, (off_t)len) || !map_at(at, len, PROT_READ | PROT_EXEC, fd))
		return NULL;
	w = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return w == MAP_FAILED ? NULL : w;
}

static bool map_window(struct diff_pages *p, unsigned win, uintptr_t at)
{
	uint8_t *copy = malloc(DIFF_WIN_SIZE);

	p->win[win] = map_at(at, DIFF_WIN_SIZE, PROT_READ | PROT_WRITE, -1);
	if (!p->win[win] || !copy)
		return false;
	diff_fill_window(win, copy, DIFF_WIN_SIZE);
	memcpy(p->win[win], copy, DIFF_WIN_SIZE);
	p->pristine[win] = copy;
	return true;
}

/* jmp *(address of diff_tail); for 32-bit code first a far jump to 64-bit code. */
static void write_tail(uint8_t *tail)
{
	static const uint8_t indirect[] = {0xff, 0x24, 0x25};
	uint32_t slot = DIFF_TAIL + 0x100, target = DIFF_TAIL;
	uint64_t to = (uintptr_t)diff_tail;
	uint16_t cs = DIFF_CS64;

	memset(tail, 0xf4, 0x1000); /* as in the guest, for whoever else gets here */
	memcpy(tail, indirect, 3);
	memcpy(tail + 3, &slot, 4);
	memcpy(tail + 0x100, &to, 8);
	tail[0x800] = 0xea;
	memcpy(tail + 0x801, &target, 4);
	memcpy(tail + 0x805, &cs, 2);
}

/* Stay on the first CPU there is: LSL of Linux's per-CPU segment tells the CPU's number. */
static void pin(void)
{
	cpu_set_t set;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return;
	while (cpu < CPU_SETSIZE && !CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("diff-cpu: sched_setaffinity");
}

uint32_t diff_native_cpunode_limit(void)
{
	uint64_t limit = 0;
	cpu_set_t was;

	if (sched_getaffinity(0, sizeof(was), &was))
		return 0;
	pin();
	__asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"((uint64_t)DIFF_CPUNODE) : "cc");
	if (sched_setaffinity(0, sizeof(was), &was))
		perror("diff-cpu: sched_setaffinity");
	return (uint32_t)limit;
}

static bool child_setup(void *arg)
{
	struct diff_native *n = arg;
	struct diff_pages *p = &n->pages;
	uint8_t *tail = map_code(DIFF_TAIL, 0x1000), *ro;

	pin();
	p->code = map_code(DIFF_CODE, DIFF_CODE_SIZE);
	ro = map_at(DIFF_RO, 0x1000, PROT_READ | PROT_WRITE, -1);
	if (!tail || !p->code || !ro || !map_window(p, WIN_DATA, DIFF_DATA) ||
	    !map_window(p, WIN_STACK, DIFF_STACK) ||
	    !map_at(DIFF_RUN, 0x1000, PROT_READ | PROT_WRITE, -1))
		return false;
	memset(p->code, 0xcc, DIFF_CODE_SIZE);
	write_tail(tail);
	diff_fill_window(WIN_COUNT, ro, 0x1000);
	return !mprotect(ro, 0x1000, PROT_READ) && diff_catch_signals(diff_signal_entry);
}

/* --- the parent's side --------------------------------------------------------------------- */

static const char *host_lacks(bool any_cpu)
{
	enum { HWCAP2_FSGSBASE_BIT = 1 << 1 };

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
		return "the kernel does not let programs use FSGSBASE";
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		return "the CPU has no AVX2 and FMA";
	if (!any_cpu && !__builtin_cpu_is("amd"))
		return "where processors differ AMD's behaviour is expected (--any-cpu runs "
		       "anyway)";
	return NULL;
}

/* The segments of 16-bit code; the child inherits them. */
static bool write_ldt(void)
{
	struct user_desc d = {.base_addr = DIFF_CODE,
			      .limit = 0xffff,
			      .contents = MODIFY_LDT_CONTENTS_CODE,
			      .useable = 1};

	if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
		return false;
	d.entry_number = 1;
	d.base_addr = DIFF_BASE16;
	d.contents = MODIFY_LDT_CONTENTS_DATA;
	return !syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}

bool diff_native_has_16bit(const struct diff_native *n)
{
	return n->has_16bit;
}

int diff_native_new(bool any_cpu, struct diff_native **out)
{
	struct diff_native *n;
	const char *lacks = host_lacks(any_cpu);
	void *p;

	if (lacks) {
		fprintf(stderr, "diff-cpu: cannot run here: %s\n", lacks);
		return -ENOTSUP;
	}
	n = calloc(1, sizeof(*n));
	p = mmap(NULL, sizeof(*n->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!n || p == MAP_FAILED) {
		free(n);
		return -ENOMEM;
	}
	n->sh = p;
	n->has_16bit = write_ldt();
	n->proc = (struct diff_proc){
		.go = -1, .done = -1, .setup = child_setup, .batch = run_batch, .arg = n};
	if (!proc_start(&n->proc)) {
		diff_native_free(n);
		return -ENOMEM;
	}
	*out = n;
	return 0;
}

void diff_native_free(struct diff_native *n)
{
	if (!n)
		return;
	proc_stop(&n->proc);
	munmap(n->sh, sizeof(*n->sh));
	free(n);
}

struct diff_case *diff_native_cases(struct diff_native *n)
{
	return n->sh->cases;
}

struct diff_result *diff_native_results(struct diff_native *n)
{
	return n->sh->results;
}

void diff_native_start(struct diff_native *n, unsigned count)
{
	n->sh->count = count;
	proc_go(&n->proc);
}

int diff_native_wait(struct diff_native *n, unsigned *at)
{
	if (proc_wait(&n->proc))
		return 0;
	*at = __atomic_load_n(&n->sh->at, __ATOMIC_RELAXED);
	return proc_start(&n->proc) ? -EIO : -EAGAIN;
}
