/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_string_test.c - repetition: interrupted, single-stepped, across pages, with devices
 * and ports, in real mode.
 */
#include "cpu/x86/sem_fixture.h"

static void aim(struct sem *s, uint64_t src, uint64_t dst, uint64_t count)
{
	s->c->s.gpr[GPR_RSI] = src;
	s->c->s.gpr[GPR_RDI] = dst;
	s->c->s.gpr[GPR_RCX] = count;
	s->c->s.rflags = FL_RES1;
	s->c->end_block = false;
	ext_commit(s->c);
}

/* Run again and again as the run loop does.  Number of times. */
static unsigned run_to_end(struct sem *s)
{
	unsigned n = 0;

	do {
		s->c->end_block = false;
		assert_int_equal(sem_run(s, 0x1000), RAN);
		n++;
	} while (s->c->s.rip == 0x1000);
	return n;
}

static void forward_copies_repeat_overlapping_bytes(void **state)
{
	static uint8_t want[HOST_BUF_BYTES];
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf;

	SEM_CODE(s, "\xf3\xa4", MODE_64);
	for (unsigned n = 0; n < 300; n++) {
		unsigned src = 3000 + (unsigned)(rnd(s) % 3000), len = (unsigned)(rnd(s) % 6000);
		unsigned dst = n & 1 ? src + n % 20 : 2000 + (unsigned)(rnd(s) % 5000);

		for (unsigned k = 0; k < HOST_BUF_BYTES; k++)
			s->buf[k] = want[k] = (uint8_t)rnd(s);
		for (unsigned k = 0; k < len; k++)
			want[dst + k] = want[src + k];
		aim(s, base + src, base + dst, len);
		assert_int_equal(run_to_end(s), 1);
		assert_memory_equal(s->buf, want, HOST_BUF_BYTES);
		assert_int_equal(s->c->s.gpr[GPR_RCX], 0);
		assert_int_equal(s->c->s.gpr[GPR_RSI], base + src + len);
		assert_int_equal(s->c->s.gpr[GPR_RDI], base + dst + len);
	}
}

static void a_request_interrupts_between_elements(void **state)
{
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf;

	s->c->requests = REQ_KICK;
	SEM_CODE(s, "\xf3\x48\xab", MODE_64); /* rep stosq */
	aim(s, 0, base, 100);
	assert_int_equal(sem_run(s, 0x1000), RAN);
	assert_int_equal(s->c->s.rip, 0x1000);
	assert_true(s->c->end_block);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 99);
	assert_int_equal(s->c->s.gpr[GPR_RDI], base + 8);
	s->c->requests = 0;
	assert_int_equal(run_to_end(s), 1);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 0);
	assert_int_equal(s->c->s.gpr[GPR_RDI], base + 800);
}

static void a_single_step_is_one_element(void **state)
{
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf;

	SEM_CODE(s, "\xf3\xa5", MODE_64);
	aim(s, base, base + 4096, 7);
	s->c->s.rflags |= FL_TF;
	assert_int_equal(run_to_end(s), 7);
}

static void a_store_to_the_running_page_stops_the_repetition(void **state)
{
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf;

	s->c->code_page = base + 4096;
	SEM_CODE(s, "\xf3\xaa", MODE_64);
	aim(s, 0, base + 8000, 400);
	assert_int_equal(sem_run(s, 0x1000), RAN);
	assert_int_equal(s->c->s.rip, 0x1000);
	assert_true(s->c->end_block);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 400 - (2 * 4096 - 8000));
	run_to_end(s);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 0);
	/* the instruction itself is at the start of its page: element by element */
	aim(s, 0, base + 4096, 50);
	assert_int_equal(sem_run(s, 0x1000), RAN);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 49);
}

/* Behind the buffer there is a hole, which is a device to the fixture. */
static void leaving_midway_leaves_exact_registers(void **state)
{
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf, end = base + HOST_BUF_BYTES;

	SEM_CODE(s, "\xf3\x66\xa5", MODE_64);
	aim(s, base, end - 10, 8);
	assert_int_equal(sem_run(s, 0x1000), LEFT);
	assert_int_equal(s->exit.reason, EXIT_MMIO);
	assert_int_equal(s->exit.addr, end);
	assert_int_equal(s->c->s.rip, 0x1000);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 3);
	assert_int_equal(s->c->s.gpr[GPR_RSI], base + 10);
	assert_int_equal(s->c->s.gpr[GPR_RDI], end);
	SEM_CODE(s, "\xf3\x66\xa7", MODE_64); /* repe cmpsw */
	memset(s->buf, 0, HOST_BUF_BYTES);
	aim(s, base, end - 10, 8);
	assert_int_equal(sem_run(s, 0x1000), LEFT);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 3);
	assert_true(s->c->s.rflags & FL_ZF);
}

static void answer(struct sem *s, uint64_t data)
{
	struct vcpu *c = s->c;

	if (!c->memo[c->memo_n - 1].write)
		c->memo[c->memo_n - 1].data = data;
	c->ext_waiting = false;
	c->memo_pos = 0;
}

static void port_strings_commit_an_element_an_exit(void **state)
{
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf;

	SEM_CODE(s, "\xf3\x6c", MODE_64); /* rep insb */
	aim(s, 0, base, 3);
	s->c->s.gpr[GPR_RDX] = 0x1f0;
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(sem_run(s, 0x1000), LEFT);
		assert_int_equal(s->exit.reason, EXIT_PIO);
		assert_int_equal(s->exit.addr, 0x1f0);
		assert_int_equal(s->c->s.gpr[GPR_RCX], 3 - n);
		answer(s, 'a' + n);
	}
	assert_int_equal(sem_run(s, 0x1000), RAN);
	assert_memory_equal(s->buf, "abc", 3);
	assert_int_equal(s->c->s.gpr[GPR_RDI], base + 3);
	SEM_CODE(s, "\xf3\x6e", MODE_64); /* rep outsb */
	aim(s, base, 0, 3);
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(sem_run(s, 0x1000), LEFT);
		assert_true(s->exit.write);
		assert_int_equal(s->exit.data, "abc"[n]);
		answer(s, 0);
	}
	assert_int_equal(sem_run(s, 0x1000), RAN);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 0);
}

static void ins_faults_before_it_reads_the_port(void **state)
{
	struct sem *s = *state;

	SEM_CODE(s, "\x6d", MODE_64);
	aim(s, 0, 0x8000000000000000ULL, 0);
	assert_int_equal(sem_run(s, 0x1000), EXC_GP);
	assert_int_equal(s->c->memo_n, 0);
}

static void real_mode_copies_stop_at_the_segments_limit(void **state)
{
	struct sem *s = *state;
	uint64_t base = (uintptr_t)s->buf;

	sem_flat_mode(s, MODE_16);
	s->c->long_mode = false;
	for (unsigned seg = SEG_ES; seg <= SEG_DS; seg++) {
		s->c->flat[seg] = false;
		s->c->s.seg[seg].base = base;
		s->c->s.seg[seg].limit = 0x1fff;
	}
	memset(s->buf, 0x11, 4096);
	SEM_CODE(s, "\xf3\xa5", MODE_16); /* rep movsw */
	aim(s, 0xabcd0000, 0x12341f00, 0x40);
	assert_int_equal(run_to_end(s), 1);
	assert_int_equal(s->c->s.gpr[GPR_RSI], 0xabcd0080);
	assert_int_equal(s->c->s.gpr[GPR_RDI], 0x12341f80);
	assert_int_equal(s->buf[0x1f7f], 0x11);
	assert_int_equal(s->buf[0x1f80], 0);
	aim(s, 0, 0x1f81, 0x40);
	assert_int_equal(sem_run(s, 0x1000), EXC_GP);
	assert_int_equal(s->c->s.gpr[GPR_RCX], 1);
	assert_int_equal(s->c->s.gpr[GPR_RDI], 0x1fff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SEM_TEST(forward_copies_repeat_overlapping_bytes),
		SEM_TEST(a_request_interrupts_between_elements),
		SEM_TEST(a_single_step_is_one_element),
		SEM_TEST(a_store_to_the_running_page_stops_the_repetition),
		SEM_TEST(leaving_midway_leaves_exact_registers),
		SEM_TEST(port_strings_commit_an_element_an_exit),
		SEM_TEST(ins_faults_before_it_reads_the_port),
		SEM_TEST(real_mode_copies_stop_at_the_segments_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
