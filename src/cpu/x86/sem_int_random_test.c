/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_random_test.c - random integer and string instructions against the host.
 *
 * Random bytes are decoded; what the integer and string semantics claim is given
 * operands inside the buffer and run twice, by the host and by its handler.  Registers,
 * all six status flags and the buffer must agree, whatever the manuals call undefined.
 * SEED=n repeats a run, ROUNDS=n makes it longer.
 */
#include "cpu/x86/sem_fixture.h"

enum { SIG_FPE = 8, SIG_SEGV = 11, SIG_BUS = 7, SIG_ILL = 4, DEFAULT_ROUNDS = 300000 };

struct trial {
	uint8_t code[32];
	unsigned modrm_at, len;
	struct host_regs regs;
};

/* --- instructions ------------------------------------------------------------------- */

static void put(struct trial *t, unsigned b)
{
	t->code[t->len++] = (uint8_t)b;
}

/* A prefix in the opcode's place would move everything behind it. */
static bool is_prefix(unsigned b)
{
	static const uint8_t others[] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64,
					 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};

	return (b & 0xf0) == 0x40 || memchr(others, (int)b, sizeof(others));
}

static void legacy_opcode(struct sem *s, struct trial *t)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e};
	static const uint8_t opcodes38[] = {0xf0, 0xf1, 0xf6};
	uint64_t r = rnd(s);

	for (unsigned n = 0; n < 3; n++, r >>= 8)
		if ((r & 0xff) < 50)
			put(t, prefixes[r % ARRAY_SIZE(prefixes)]);
	if (r & 1)
		put(t, 0x40 | (r >> 8 & 15));
	r = rnd(s);
	if (r % 100 < 40) {
		put(t, 0x0f);
	} else if (r % 100 < 48) {
		put(t, 0x0f);
		put(t, 0x38);
		put(t, opcodes38[(r >> 8) % ARRAY_SIZE(opcodes38)]);
		return;
	}
	r = r >> 16 & 0xff;
	if (t->len && t->code[t->len - 1] == 0x0f ? r == 0x38 || r == 0x3a : is_prefix(r))
		r = 0x90;
	put(t, r);
}

static void vex_opcode(struct sem *s, struct trial *t)
{
	static const uint8_t opcodes[] = {0xf2, 0xf3, 0xf5, 0xf6, 0xf7};
	uint64_t r = rnd(s);
	bool rorx = (r & 7) == 0;

	put(t, 0xc4);
	put(t, (r >> 8 & 0xe0) | (rorx ? 3 : 2));
	put(t, (r >> 16 & 0xfb) | (rorx ? 0x78 : 0));
	put(t, rorx ? 0xf0 : opcodes[(r >> 24) % ARRAY_SIZE(opcodes)]);
}

/* Fill t->code and decode it into s->insn.  False: not one of ours. */
static bool random_insn(struct sem *s, struct trial *t)
{
	int n;

	t->len = 0;
	if (rnd(s) % 100 < 12)
		vex_opcode(s, t);
	else
		legacy_opcode(s, t);
	t->modrm_at = t->len;
	for (unsigned k = 0; k < 2; k++) {
		uint64_t r = rnd(s);

		memcpy(t->code + t->len + 8 * k, &r, 8);
	}
	n = x86_decode(t->code, 15, MODE_64, &s->insn);
	if (n < 0)
		return false;
	t->len = (unsigned)n;
	sem_bind(s);
	return s->insn.fn != NULL;
}

/* Those leave the instruction's place, or need ports. */
static bool excluded(const struct insn *i)
{
	return (i->op >= OP_JMP && i->op <= OP_LOOPNE) || i->op == OP_INS || i->op == OP_OUTS ||
	       (i->flags & INSN_MEM && (i->seg == SEG_FS || i->seg == SEG_GS)) ||
	       (i->form == FORM_STR && (i->seg == SEG_FS || i->seg == SEG_GS));
}

/* --- operands ------------------------------------------------------------------------ */

static bool is_bit_op(const struct insn *i)
{
	return i->op >= OP_BT && i->op <= OP_BTC;
}

/* Make the memory operand's address @target.  False: too much trouble. */
static bool aim(struct sem *s, struct trial *t, uint64_t target)
{
	struct insn *i = &s->insn;
	uint64_t *g = t->regs.gpr, at = 0;
	uint32_t disp;

	if (i->index != INSN_NOREG) {
		if (i->index == i->base || i->index == GPR_RSP)
			return false;
		g[i->index] = i->base == GPR_RSP ? rnd(s) & 3 : (uint64_t)(int64_t)(int16_t)rnd(s);
		at = g[i->index] << i->scale;
	}
	if (i->base == GPR_RSP && (i->disp != (int8_t)i->disp || i->adsize == 4))
		return false;
	if (i->base != INSN_NOREG) {
		g[i->base] = target - at - (uint64_t)i->disp;
		if (i->adsize == 4)
			g[i->base] ^= rnd(s) << 32;
		return true;
	}
	if (i->op == OP_MOV && t->code[t->modrm_at - 1] >= 0xa0 &&
	    t->code[t->modrm_at - 1] <= 0xa3) {
		memcpy(t->code + t->modrm_at, &target, i->adsize);
	} else if (i->flags & INSN_RIPREL) {
		disp = (uint32_t)(target - (host_exec_code(s->h) + t->len));
		memcpy(t->code + t->modrm_at + 1, &disp, 4);
	} else {
		disp = (uint32_t)(target - at);
		memcpy(t->code + t->modrm_at + 2, &disp, 4);
	}
	if (x86_decode(t->code, t->len, MODE_64, i) != (int)t->len)
		return false;
	sem_bind(s);
	return true;
}

static void string_operands(struct sem *s, struct trial *t)
{
	uint64_t *g = t->regs.gpr, base = (uintptr_t)s->buf, garbage = 0;

	if (s->insn.adsize == 4)
		garbage = rnd(s) << 32;
	g[GPR_RSI] = base + 1000 + rnd(s) % (HOST_BUF_BYTES - 2000);
	g[GPR_RDI] = base + 1000 + rnd(s) % (HOST_BUF_BYTES - 2000);
	if (rnd(s) & 1)
		g[GPR_RDI] = MAX(base + 1000, g[GPR_RSI] - 20 + rnd(s) % 40);
	g[GPR_RCX] = rnd(s) % 4 ? rnd(s) % 100 : rnd(s) % 3;
	g[GPR_RSI] ^= garbage;
	g[GPR_RDI] ^= garbage;
	g[GPR_RCX] ^= garbage;
	if (s->insn.op == OP_SCAS && rnd(s) & 1)
		g[GPR_RAX] = s->buf[(g[GPR_RDI] - base) % HOST_BUF_BYTES] * 0x0101010101010101ULL;
	if (rnd(s) & 1)
		t->regs.rflags |= FL_DF;
}

/* Half of the compare-and-exchanges shall succeed. */
static void cmpxchg_operands(struct sem *s, struct trial *t, uint64_t target)
{
	const struct insn *i = &s->insn;
	uint64_t *g = t->regs.gpr, m[2];

	memcpy(m, (void *)(uintptr_t)target, 16);
	if (!(i->flags & INSN_MEM) || !(rnd(s) & 1))
		return;
	if (i->base == GPR_RAX || i->index == GPR_RAX || i->base == GPR_RDX || i->index == GPR_RDX)
		return;
	g[GPR_RAX] = m[0];
	if (i->op == OP_CMPXCHG8B) {
		g[GPR_RAX] = (uint32_t)m[0];
		g[GPR_RDX] = m[0] >> 32;
	} else if (i->op == OP_CMPXCHG16B) {
		g[GPR_RDX] = m[1];
	}
}

static bool random_operands(struct sem *s, struct trial *t)
{
	struct insn *i = &s->insn;
	uint64_t *g = t->regs.gpr, base = (uintptr_t)s->buf;
	uint64_t target = base + 512 + rnd(s) % (HOST_BUF_BYTES - 1024);

	for (unsigned n = 0; n < 16; n++)
		g[n] = rnd_value(s);
	t->regs.rflags = (rnd(s) & FL_STATUS) | FL_RES1 | FL_IF;
	g[GPR_RSP] = base + HOST_BUF_BYTES / 2 + rnd(s) % 4096;
	if (i->op == OP_LEAVE || i->op == OP_ENTER)
		g[GPR_RBP] = base + HOST_BUF_BYTES / 2 + rnd(s) % 4096;
	if (i->op == OP_DIV || i->op == OP_IDIV)
		g[GPR_RDX] = rnd(s) & 1 ? 0 - (g[GPR_RAX] >> 63) : rnd(s) & 0xff;
	if (i->op == OP_XLAT)
		g[GPR_RBX] = base + rnd(s) % 8192;
	if (i->op == OP_ENTER) {
		t->code[t->len - 2] &= 1;
		x86_decode(t->code, t->len, MODE_64, i);
		sem_bind(s);
	}
	if (i->form == FORM_STR && i->op != OP_XLAT)
		string_operands(s, t);
	if (i->op == OP_CMPXCHG16B && rnd(s) & 7)
		target &= ~15ULL;
	if (i->flags & INSN_MEM && i->op != OP_LEA) {
		if (is_bit_op(i) && i->form == FORM_RM_R) {
			if (i->reg == i->base || i->reg == i->index)
				return false;
			g[i->reg] = (g[i->reg] & ~0xffffULL) | (rnd(s) & 0xfff);
			if (i->opsize > 2)
				g[i->reg] = (uint64_t)(int64_t)(int16_t)(rnd(s) % 6000 - 3000);
		}
		if (!aim(s, t, target))
			return false;
	}
	if (i->op >= OP_CMPXCHG && i->op <= OP_CMPXCHG16B)
		cmpxchg_operands(s, t, target);
	return true;
}

/* Random, constant, or repeating content. */
static void fill_buffer(struct sem *s)
{
	uint64_t kind = rnd(s) % 3, v = rnd(s) & 1 ? 0 : rnd(s);

	for (unsigned n = 0; n < HOST_BUF_BYTES / 8; n++) {
		uint64_t w = kind == 0	 ? rnd_value(s)
			     : kind == 1 ? v
					 : rnd(s) & 0x0101010101010101ULL;

		memcpy(s->buf + 8 * n, &w, 8);
	}
}

/* --- the comparison ------------------------------------------------------------------- */

static void describe(const struct sem *s, const struct trial *t)
{
	print_message("%s opsize %u:", x86_op_name(s->insn.op), s->insn.opsize);
	for (unsigned n = 0; n < t->len; n++)
		print_message(" %02x", t->code[n]);
	print_message("\n");
}

static bool same_regs(const struct sem *s, const struct trial *t, const struct host_regs *host)
{
	const struct cpu_state *st = &s->c->s;
	bool same = true;

	for (unsigned n = 0; n < 16; n++) {
		if (st->gpr[n] == host->gpr[n])
			continue;
		print_message("r%u: before %016lx host %016lx ours %016lx\n", n, t->regs.gpr[n],
			      host->gpr[n], st->gpr[n]);
		same = false;
	}
	if (st->rflags != host->rflags) {
		print_message("rflags: before %lx host %lx ours %lx\n", t->regs.rflags,
			      host->rflags, st->rflags);
		same = false;
	}
	return same;
}

static int expected_result(int sig)
{
	return sig == SIG_FPE ? EXC_DE : sig == SIG_SEGV ? EXC_GP : sig == SIG_BUS ? EXC_SS : RAN;
}

/* Run the trial on both sides.  True: they agree. */
static bool agree(struct sem *s, struct trial *t)
{
	static uint8_t before[HOST_BUF_BYTES], host_mem[HOST_BUF_BYTES];
	struct host_regs host = t->regs;
	bool same = true;
	int sig, got;

	memcpy(before, s->buf, sizeof(before));
	sig = host_exec_run(s->h, t->code, t->len, &host);
	memcpy(host_mem, s->buf, sizeof(host_mem));
	memcpy(s->buf, before, sizeof(before));
	if (sig == SIG_ILL) /* a feature the host lacks */
		return true;
	memcpy(s->c->s.gpr, t->regs.gpr, sizeof(t->regs.gpr));
	s->c->s.rflags = t->regs.rflags;
	got = sem_run(s, host_exec_code(s->h));
	s->c->s.rflags &= ~(uint64_t)FL_RF;
	if (got != expected_result(sig)) {
		print_message("host: signal %d, ours: %d\n", sig, got);
		same = false;
	}
	same &= same_regs(s, t, &host);
	if (memcmp(host_mem, s->buf, sizeof(host_mem))) {
		for (unsigned n = 0; n < HOST_BUF_BYTES; n++)
			if (host_mem[n] != s->buf[n])
				print_message("mem+%#x: host %02x ours %02x\n", n, host_mem[n],
					      s->buf[n]);
		same = false;
	}
	if (!same)
		describe(s, t);
	return same;
}

static void random_instructions_agree_with_the_host(void **state)
{
	struct sem *s = *state;
	const char *env = getenv("ROUNDS");
	unsigned rounds = env ? (unsigned)atoi(env) : DEFAULT_ROUNDS, bad = 0;
	static unsigned seen[OP_COUNT];
	uint64_t seed = s->seed;
	struct trial t;

	print_message("SEED=%#lx\n", seed);
	for (unsigned n = 0; n < rounds && bad < 10; n++) {
		if (n % 64 == 0)
			fill_buffer(s);
		do {
			while (!random_insn(s, &t) || excluded(&s->insn))
				;
		} while (!random_operands(s, &t));
		seen[s->insn.op]++;
		bad += !agree(s, &t);
	}
	if (getenv("VERBOSE"))
		for (unsigned op = 0; op < OP_COUNT; op++)
			if (seen[op])
				print_message("%s %u\n", x86_op_name(op), seen[op]);
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {SEM_TEST(random_instructions_agree_with_the_host)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
