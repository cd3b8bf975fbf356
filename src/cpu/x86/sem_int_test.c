/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_test.c - what random instructions on a flat 64-bit buffer cannot show: branches,
 * other modes, decimal instructions, faults, outside accesses, locked page crossings.
 */
#include "cpu/x86/sem_fixture.h"

enum { SIG_FPE = 8 };

/* --- conditions ------------------------------------------------------------------ */

static void jcc_setcc_and_cmovcc_follow_the_hosts_conditions(void **state)
{
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;

	for (unsigned n = 0; n < 64 * 16; n++) {
		static const uint64_t bits[] = {FL_CF, FL_PF, FL_AF, FL_ZF, FL_SF, FL_OF};
		char setcc[] = {0x0f, (char)(0x90 | n % 16), (char)0xc0};
		char jcc[] = {(char)(0x70 | n % 16), 0x10};
		char cmov[] = {0x48, 0x0f, (char)(0x40 | n % 16), (char)0xc1};
		struct host_regs host = {.rflags = FL_RES1};

		for (unsigned k = 0; k < 6; k++)
			host.rflags |= n >> (4 + k) & 1 ? bits[k] : 0;
		st->rflags = host.rflags;
		assert_int_equal(host_exec_run(s->h, (uint8_t *)setcc, 3, &host), 0);
		sem_decode(s, setcc, 3, MODE_64);
		st->gpr[GPR_RAX] = 0;
		assert_int_equal(sem_run(s, 0x1000), RAN);
		assert_int_equal(st->gpr[GPR_RAX], host.gpr[GPR_RAX]);
		sem_decode(s, jcc, 2, MODE_64);
		assert_int_equal(sem_run(s, 0x1000), RAN);
		assert_int_equal(st->rip, host.gpr[GPR_RAX] ? 0x1012 : 0x1002);
		sem_decode(s, jcc, 2, MODE_32);
		assert_int_equal(sem_run(s, 0x1000), RAN);
		assert_int_equal(st->rip, host.gpr[GPR_RAX] ? 0x1012 : 0x1002);
		sem_decode(s, cmov, 4, MODE_64);
		st->gpr[GPR_RAX] = 1;
		st->gpr[GPR_RCX] = 2;
		assert_int_equal(sem_run(s, 0x1000), RAN);
		assert_int_equal(st->gpr[GPR_RAX], host.gpr[GPR_RAX] ? 2 : 1);
	}
}

/* --- decimal ------------------------------------------------------------------------ */

/* True unless the host has no 32-bit code. */
static bool decimal_agrees(struct sem *s, const char *code, unsigned len, uint64_t rax,
			   uint64_t flags)
{
	struct host_regs host = {.gpr = {rax}, .rflags = flags};
	int sig = host_exec_run32(s->h, (const uint8_t *)code, len, &host), got;

	if (sig && sig != SIG_FPE)
		return false;
	sem_decode(s, code, len, MODE_32);
	s->c->s.gpr[GPR_RAX] = rax;
	s->c->s.rflags = flags;
	got = sem_run(s, 0x1000);
	assert_int_equal(got, sig ? EXC_DE : RAN);
	if (!sig) {
		assert_int_equal(s->c->s.gpr[GPR_RAX], host.gpr[GPR_RAX]);
		assert_int_equal(s->c->s.rflags, host.rflags);
	}
	return true;
}

static void decimal_instructions_agree_with_32_bit_code_on_the_host(void **state)
{
	static const char ops[] = {0x27, 0x2f, 0x37, 0x3f, (char)0xd6};
	struct sem *s = *state;

	for (unsigned n = 0; n < 0x10000 * 8; n++) {
		uint64_t flags = FL_RES1 | FL_IF | (n & 1 ? FL_AF : 0) | (n & 2 ? FL_CF : 0);
		char ascii[] = {n & 4 ? (char)0xd4 : (char)0xd5, (char)rnd(s)};

		flags |= rnd(s) & (FL_OF | FL_SF | FL_ZF | FL_PF);
		if (!decimal_agrees(s, &ops[n % 5], 1, n >> 3, flags)) {
			skip();
			return;
		}
		decimal_agrees(s, ascii, 2, n >> 3, flags);
	}
}

/* --- near branches --------------------------------------------------------------------- */

static void targets_outside_leave_everything_as_it_was(void **state)
{
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;
	uint64_t sp = (uintptr_t)s->buf + 4096, t = 0x8000000000000000ULL, v;

	st->gpr[GPR_RSP] = sp;
	st->gpr[GPR_RAX] = t;
	memset(s->buf, 0x5a, HOST_BUF_BYTES);
	SEM_CODE(s, "\xff\xd0", MODE_64); /* call rax */
	assert_int_equal(sem_run(s, 0x1000), EXC_GP);
	assert_int_equal(st->rip, 0x1000);
	assert_int_equal(st->gpr[GPR_RSP], sp);
	memcpy(&v, s->buf + 4096 - 8, 8);
	assert_int_equal(v, 0x5a5a5a5a5a5a5a5aULL);
	SEM_CODE(s, "\xff\xe0", MODE_64); /* jmp rax */
	assert_int_equal(sem_run(s, 0x1000), EXC_GP);
	memcpy(s->buf + 4096, &t, 8);
	SEM_CODE(s, "\xc3", MODE_64);
	assert_int_equal(sem_run(s, 0x1000), EXC_GP);
	assert_int_equal(st->gpr[GPR_RSP], sp);
	sem_flat_mode(s, MODE_32);
	st->seg[SEG_CS].limit = 0x1fff;
	st->gpr[GPR_RCX] = 5;
	SEM_CODE(s, "\xe2\x10", MODE_32); /* loop past the limit */
	assert_int_equal(sem_run(s, 0x1ffa), EXC_GP);
	assert_int_equal(st->gpr[GPR_RCX], 5);
	assert_int_equal(sem_run(s, 0x1fe0), RAN);
	assert_int_equal(st->gpr[GPR_RCX], 4);
	assert_int_equal(st->rip, 0x1ff2);
}

static void sixteen_bit_branches_cut_the_target(void **state)
{
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;

	sem_flat_mode(s, MODE_32);
	SEM_CODE(s, "\x66\xeb\x7e", MODE_32);
	assert_int_equal(sem_run(s, 0xfff0), RAN);
	assert_int_equal(st->rip, 0x71);
	sem_flat_mode(s, MODE_16);
	SEM_CODE(s, "\xeb\xfc", MODE_16);
	assert_int_equal(sem_run(s, 0), RAN);
	assert_int_equal(st->rip, 0xfffe);
	SEM_CODE(s, "\x66\xe9\xfb\xff\xff\xff", MODE_16); /* jmp rel32 */
	assert_int_equal(sem_run(s, 0x10005), RAN);
	assert_int_equal(st->rip, 0x10006);
}

static void calls_and_returns_nest(void **state)
{
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;
	uint64_t sp = (uintptr_t)s->buf + 4096;

	st->gpr[GPR_RSP] = sp + 4; /* the return address crosses pages */
	SEM_CODE(s, "\xe8\xfb\x0f\x00\x00", MODE_64);
	assert_int_equal(sem_run(s, 0x1000), RAN);
	assert_int_equal(st->rip, 0x2000);
	assert_int_equal(st->gpr[GPR_RSP], sp - 4);
	SEM_CODE(s, "\xc2\x08\x01", MODE_64); /* ret 108h */
	assert_int_equal(sem_run(s, 0x2000), RAN);
	assert_int_equal(st->rip, 0x1005);
	assert_int_equal(st->gpr[GPR_RSP], sp + 4 + 0x108);
	st->gpr[GPR_RSP] = sp;
	SEM_CODE(s, "\xe8\xfb\x0f\x00\x00", MODE_64);
	assert_int_equal(sem_run(s, 0x1000), RAN);
	SEM_CODE(s, "\xc3", MODE_64);
	assert_int_equal(sem_run(s, 0x2000), RAN);
	assert_int_equal(st->rip, 0x1005);
	assert_int_equal(st->gpr[GPR_RSP], sp);
}

/* --- the stack in other modes ----------------------------------------------------------- */

static void a_16_bit_stack_wraps_and_keeps_the_upper_half(void **state)
{
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;
	uint16_t v;

	sem_flat_mode(s, MODE_16);
	st->seg[SEG_SS].base = (uintptr_t)s->buf;
	st->gpr[GPR_RSP] = 0x12340100;
	st->gpr[GPR_RAX] = 0xbeef;
	SEM_CODE(s, "\x50", MODE_16);
	assert_int_equal(sem_run(s, 0), RAN);
	assert_int_equal(st->gpr[GPR_RSP], 0x123400fe);
	memcpy(&v, s->buf + 0xfe, 2);
	assert_int_equal(v, 0xbeef);
	st->gpr[GPR_RSP] = 0x1234fffe;
	SEM_CODE(s, "\x58", MODE_16);
	st->seg[SEG_SS].base = (uintptr_t)s->buf - 0xf000;
	assert_int_equal(sem_run(s, 0), RAN);
	assert_int_equal(st->gpr[GPR_RSP], 0x12340000);
}

static void bound_raises_outside_its_limits_only(void **state)
{
	static const int32_t limits[] = {-5, 7};
	struct sem *s = *state;

	sem_flat_mode(s, MODE_32);
	memcpy(s->buf, limits, sizeof(limits));
	s->c->s.gpr[GPR_RBX] = (uintptr_t)s->buf;
	SEM_CODE(s, "\x62\x03", MODE_32); /* bound eax, [ebx] */
	for (int32_t v = -8; v < 10; v++) {
		s->c->s.gpr[GPR_RAX] = (uint32_t)v;
		assert_int_equal(sem_run(s, 0), v < -5 || v > 7 ? EXC_BR : RAN);
	}
}

/* --- outside accesses --------------------------------------------------------------------- */

/* What the engine does with an answer. */
static void answer(struct sem *s, uint64_t data)
{
	struct vcpu *c = s->c;

	if (!c->memo[c->memo_n - 1].write)
		c->memo[c->memo_n - 1].data = data;
	c->ext_waiting = false;
	c->memo_pos = 0;
}

static void read_modify_write_of_a_device_commits_last(void **state)
{
	static const struct {
		const char *code;
		unsigned len;
		uint64_t written;
	} cases[] = {
		{"\x01\x03", 2, 0x30},		   /* add [rbx], eax */
		{"\xf0\x01\x03", 3, 0x30},	   /* lock add */
		{"\x0f\xc1\x03", 3, 0x30},	   /* xadd [rbx], eax */
		{"\x87\x03", 2, 0x20},		   /* xchg [rbx], eax */
		{"\xf0\x0f\xba\x2b\x00", 5, 0x11}, /* lock bts [rbx], 0 */
	};
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;

	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		st->gpr[GPR_RBX] = 0x40;
		st->gpr[GPR_RAX] = 0x20;
		st->rflags = FL_RES1 | FL_STATUS;
		ext_commit(s->c);
		sem_decode(s, cases[n].code, cases[n].len, MODE_64);
		assert_int_equal(sem_run(s, 0x1000), LEFT);
		assert_false(s->exit.write);
		answer(s, 0x10);
		assert_int_equal(sem_run(s, 0x1000), LEFT);
		assert_true(s->exit.write);
		assert_int_equal(s->exit.data, cases[n].written);
		assert_int_equal(st->rflags & FL_STATUS, FL_STATUS);
		assert_int_equal(st->gpr[GPR_RAX], 0x20);
		assert_false(s->c->split_held);
		answer(s, 0);
		assert_int_equal(sem_run(s, 0x1000), RAN);
	}
}

static void locked_operations_cross_pages(void **state)
{
	struct sem *s = *state;
	struct cpu_state *st = &s->c->s;
	uint64_t v = 0x00ffffffffffffffULL;

	memcpy(s->buf + 4093, &v, 8);
	st->gpr[GPR_RBX] = (uintptr_t)s->buf + 4093;
	SEM_CODE(s, "\xf0\x48\xff\x03", MODE_64); /* lock inc qword [rbx] */
	assert_int_equal(sem_run(s, 0x1000), RAN);
	memcpy(&v, s->buf + 4093, 8);
	assert_int_equal(v, 0x0100000000000000ULL);
	assert_false(s->c->split_held);
	st->gpr[GPR_RAX] = v;
	st->gpr[GPR_RCX] = 77;
	SEM_CODE(s, "\xf0\x48\x0f\xb1\x0b", MODE_64); /* lock cmpxchg [rbx], rcx */
	assert_int_equal(sem_run(s, 0x1000), RAN);
	memcpy(&v, s->buf + 4093, 8);
	assert_int_equal(v, 77);
	assert_true(st->rflags & FL_ZF);
}

static void stores_to_the_running_page_end_the_block(void **state)
{
	static const char *const codes[] = {"\x48\x89\x03", "\x48\x01\x03", "\xf0\x48\x01\x03",
					    "\x50", "\xff\xd0"};
	struct sem *s = *state;

	for (unsigned n = 0; n < ARRAY_SIZE(codes); n++) {
		s->c->s.gpr[GPR_RAX] = 0;
		s->c->s.gpr[GPR_RBX] = (uintptr_t)s->buf + 64;
		s->c->s.gpr[GPR_RSP] = (uintptr_t)s->buf + 64;
		sem_decode(s, codes[n], (unsigned)strlen(codes[n]), MODE_64);
		s->c->code_page = (uintptr_t)s->buf + 4096;
		s->c->end_block = false;
		assert_int_equal(sem_run(s, 0x1000), RAN);
		assert_false(s->c->end_block);
		s->c->s.gpr[GPR_RSP] = (uintptr_t)s->buf + 64;
		s->c->code_page = (uintptr_t)s->buf;
		assert_int_equal(sem_run(s, 0x1000), RAN);
		assert_true(s->c->end_block);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SEM_TEST(jcc_setcc_and_cmovcc_follow_the_hosts_conditions),
		SEM_TEST(decimal_instructions_agree_with_32_bit_code_on_the_host),
		SEM_TEST(targets_outside_leave_everything_as_it_was),
		SEM_TEST(sixteen_bit_branches_cut_the_target),
		SEM_TEST(calls_and_returns_nest),
		SEM_TEST(a_16_bit_stack_wraps_and_keeps_the_upper_half),
		SEM_TEST(bound_raises_outside_its_limits_only),
		SEM_TEST(read_modify_write_of_a_device_commits_last),
		SEM_TEST(locked_operations_cross_pages),
		SEM_TEST(stores_to_the_running_page_end_the_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
