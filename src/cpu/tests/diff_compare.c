/* SPDX-License-Identifier: Apache-2.0 */
/* diff_compare.c - are two results equal, and if not, where. */
#include <stdarg.h>
#include <string.h>
#include "cpu/tests/diff.h"

enum { FSW_ES = 1 << 7 };

struct out {
	char *p, *end;
	bool any;
};

static void say(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	o->any = true;
	va_start(ap, fmt);
	n = vsnprintf(o->p, (size_t)(o->end - o->p), fmt, ap);
	va_end(ap);
	o->p += MIN(MAX(n, 0), (int)(o->end - o->p) - 1);
}

static void same64(struct out *o, const char *what, uint64_t native, uint64_t soft)
{
	if (native != soft)
		say(o, " %s %#lx|%#lx", what, (unsigned long)native, (unsigned long)soft);
}

static void put_hex(struct out *o, const uint8_t *p, unsigned len)
{
	for (unsigned n = len; n--;)
		say(o, "%02x", p[n]);
}

static void same_bytes(struct out *o, const char *what, unsigned n, const uint8_t *a,
		       const uint8_t *b, unsigned len)
{
	if (!memcmp(a, b, len))
		return;
	say(o, " %s%u ", what, n);
	put_hex(o, a, len);
	say(o, "|");
	put_hex(o, b, len);
}

static void compare_gprs(struct out *o, const struct diff_case *c, const struct diff_result *a,
			 const struct diff_result *b)
{
	static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					      "rsi", "rdi", "r8",  "r9",  "r10", "r11",
					      "r12", "r13", "r14", "r15"};
	/* what 32-bit code leaves in the upper halves is not defined */
	bool wide = c->mode == MODE_64 && a->cs == DIFF_CS64 && b->cs == DIFF_CS64;
	uint64_t mask = wide ? ~0ULL : 0xffffffff;

	for (unsigned n = 0; n < 16; n++)
		same64(o, names[n], a->gpr[n] & mask, b->gpr[n] & mask);
}

/* Linux says "protection" for any user access above its half, whatever is mapped there. */
static uint32_t error_of(const struct diff_result *r)
{
	bool upper = r->vector == EXC_PF && r->cr2 >= 0x7ffffffff000;

	return upper ? r->error | 1 : r->error;
}

/* IRET in the host's kernel turns any null selector into 0. */
static uint16_t selector(uint16_t sel)
{
	return sel < 4 ? 0 : sel;
}

static void compare_event(struct out *o, const struct diff_result *a, const struct diff_result *b,
			  bool vague)
{
	/* a misaligned SSE operand may also be beyond the stack's limit: either may come first */
	if (a->vector == EXC_GP && b->vector == EXC_SS && !a->error && !b->error)
		return;
	if (a->vector != b->vector)
		say(o, " vector %d|%d", a->vector, b->vector);
	else if (a->vector != EXC_PF || !vague)
		same64(o, "error", error_of(a), error_of(b));
	if (!vague)
		same64(o, "cr2", a->cr2, b->cr2);
	same64(o, "rip", a->rip, b->rip);
	same64(o, "cs", a->cs, b->cs);
	same64(o, "ss", a->ss, b->ss);
	same64(o, "ds", selector(a->ds), selector(b->ds));
	same64(o, "es", selector(a->es), selector(b->es));
	same64(o, "fs", selector(a->fs), selector(b->fs));
	same64(o, "gs", selector(a->gs), selector(b->gs));
	same64(o, "fsbase", a->fsbase, b->fsbase);
	same64(o, "gsbase", a->gsbase, b->gsbase);
}

static void compare_fpu(struct out *o, const struct diff_result *a, const struct diff_result *b)
{
	same64(o, "fcw", a->fx.fcw, b->fx.fcw);
	same64(o, "fsw", a->fx.fsw, b->fx.fsw);
	same64(o, "ftw", a->fx.ftw, b->fx.ftw);
	if (a->fx.fsw & FSW_ES) { /* AMD saves the pointers only then */
		same64(o, "fop", a->fx.fop, b->fx.fop);
		same64(o, "fip", a->fx.fip, b->fx.fip);
		same64(o, "fdp", a->fx.fdp, b->fx.fdp);
	}
	same64(o, "mxcsr", a->fx.mxcsr, b->fx.mxcsr);
	for (unsigned n = 0; n < 8; n++)
		same_bytes(o, "st", n, a->fx.st[n], b->fx.st[n], 10);
	for (unsigned n = 0; n < 16; n++)
		same_bytes(o, "xmm", n, a->fx.xmm[n], b->fx.xmm[n], 16);
	for (unsigned n = 0; n < 16; n++)
		same_bytes(o, "ymmh", n, a->ymmh[n], b->ymmh[n], 16);
}

static void compare_memory(struct out *o, const struct diff_result *a, const struct diff_result *b)
{
	static const char *const names[WIN_COUNT] = {"data", "stack"};

	for (unsigned w = 0; w < WIN_COUNT; w++) {
		const struct diff_mem *m = &a->mem[w], *n = &b->mem[w];

		if (m->first == n->first && m->len == n->len && m->hash == n->hash)
			continue;
		say(o, " %s +%x..%x ", names[w], m->first, m->len);
		put_hex(o, m->head, MIN(m->len, 16u));
		say(o, "|+%x..%x ", n->first, n->len);
		put_hex(o, n->head, MIN(n->len, 16u));
	}
}

bool diff_compare(const struct diff_case *c, const struct diff_result *native,
		  const struct diff_result *soft, char *buf, size_t len)
{
	struct out o = {.p = buf, .end = buf + len};
	struct insn i;
	bool vague = x86_decode(c->code, c->nbytes, (enum x86_mode)c->mode, &i) > 0 &&
		     diff_many_accesses(&i) && native->vector != VEC_NONE;

	buf[0] = 0;
	compare_event(&o, native, soft, vague);
	compare_gprs(&o, c, native, soft);
	same64(&o, "rflags", native->rflags, soft->rflags);
	compare_fpu(&o, native, soft);
	if (!vague || native->vector == EXC_BP) /* it got where it branched to */
		compare_memory(&o, native, soft);
	return o.any;
}
