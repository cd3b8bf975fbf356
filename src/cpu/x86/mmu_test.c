/* SPDX-License-Identifier: Apache-2.0 */
/* mmu_test.c - the TLB, slow accesses, what is derived from modes, and faults. */
#include "cpu/x86/mmu_fixture.h"

/* --- TLB ---------------------------------------------------------------------- */

enum { PT = 0x4000, F_P = 1, F_W = 2, F_U = 4, F_A = 0x20, F_D = 0x40, F_PS = 0x80, F_G = 0x100 };

static void poke(struct fix *f, uint64_t gpa, uint64_t val)
{
	memcpy(f->ram + gpa, &val, 8);
}

static uint64_t peek(struct fix *f, uint64_t gpa)
{
	uint64_t v;

	memcpy(&v, f->ram + gpa, 8);
	return v;
}

/* Long mode, CPL 0; linear page n (below 512) has its entry at PT + n * 8. */
static void long_mode(struct fix *f)
{
	struct cpu_state *s = &f->c->s;

	memset(f->ram, 0, RAM_BYTES);
	poke(f, 0x1000, 0x2000 | F_P | F_W | F_U);
	poke(f, 0x2000, 0x3000 | F_P | F_W | F_U);
	poke(f, 0x3000, PT | F_P | F_W | F_U);
	s->cr0 = CR0_PE | CR0_PG | CR0_WP;
	s->cr4 = CR4_PAE | CR4_PGE;
	s->efer = EFER_LME | EFER_LMA | EFER_NXE;
	s->cr3 = 0x1000;
	s->rflags = FL_RES1;
	s->seg[SEG_CS].attr = ATTR_P | ATTR_S | ATTR_X | ATTR_L | ATTR_W;
	s->seg[SEG_SS].attr = ATTR_P | ATTR_S | ATTR_W;
	vcpu_update_mode(f->c);
}

static void map(struct fix *f, unsigned page, uint64_t pte)
{
	poke(f, PT + page * 8, pte);
}

/* Run @fn(f, lin, size); the vector it raised, or -1. */
typedef void access_fn(struct fix *f, gva_t lin, unsigned size);

static int caught(struct fix *f, access_fn *fn, gva_t lin, unsigned size)
{
	f->c->s.exc_pending = 0;
	if (!setjmp(f->c->env))
		fn(f, lin, size);
	return f->c->s.exc_pending ? f->c->s.exc_vector : -1;
}

#define STORED 0x1122334455667788ULL

static void do_load(struct fix *f, gva_t lin, unsigned size)
{
	f->value = lin_load(f->c, lin, size);
}

static void do_store(struct fix *f, gva_t lin, unsigned size)
{
	lin_store(f->c, lin, size, STORED);
}

static void do_rmw(struct fix *f, gva_t lin, unsigned size)
{
	uint64_t v = rmw_load(f->c, lin, size);

	rmw_store(f->c, size, v + 1);
}

static void do_sys_load(struct fix *f, gva_t lin, unsigned size)
{
	f->value = sys_load(f->c, lin, size);
}

static void do_locked_fault(struct fix *f, gva_t lin, unsigned size)
{
	split_lock(f->c);
	raise_gp(f->c, 0);
}

static void first_write_sets_the_dirty_bit_and_reads_do_not(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W);
	assert_int_equal(lin_load(f->c, 0x5000, 8), 0);
	assert_int_equal(peek(f, PT + 5 * 8) & (F_A | F_D), F_A);
	assert_null(tlb_write_ptr(f->c, 0x5000, 8));
	lin_store(f->c, 0x5008, 8, 77);
	assert_int_equal(peek(f, PT + 5 * 8) & (F_A | F_D), F_A | F_D);
	assert_int_equal(peek(f, 0x8008), 77);
	assert_ptr_equal(tlb_write_ptr(f->c, 0x5ff8, 8), f->ram + 0x8ff8);
}

static void global_pages_survive_a_flush_of_the_others(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W | F_G);
	map(f, 6, 0x9000 | F_P | F_W);
	lin_load(f->c, 0x5000, 1);
	lin_load(f->c, 0x6000, 1);
	tlb_flush_nonglobal(f->c);
	assert_non_null(tlb_read_ptr(f->c, 0x5000, 1));
	assert_null(tlb_read_ptr(f->c, 0x6000, 1));
	tlb_flush_all(f->c);
	assert_null(tlb_read_ptr(f->c, 0x5000, 1));
}

static void invlpg_drops_every_part_of_a_large_page(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	poke(f, 0x3000 + 8, 0 | F_P | F_W | F_PS); /* 2 MiB at 2 MiB */
	map(f, 7, 0x8000 | F_P | F_W);
	lin_load(f->c, 0x205000, 1);
	lin_load(f->c, 0x206000, 1);
	lin_load(f->c, 0x7000, 1);
	tlb_flush_page(f->c, 0x3ff000);
	assert_null(tlb_read_ptr(f->c, 0x205000, 1));
	assert_null(tlb_read_ptr(f->c, 0x206000, 1));
	assert_non_null(tlb_read_ptr(f->c, 0x7000, 1));
	tlb_flush_page(f->c, 0x7123);
	assert_null(tlb_read_ptr(f->c, 0x7000, 1));
}

static void views_do_not_share_rights(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;

	long_mode(f);
	c->s.cr4 |= CR4_SMAP;
	vcpu_update_mode(c);
	map(f, 5, 0x8000 | F_P | F_W | F_U);
	map(f, 6, 0x9000 | F_P | F_W);
	assert_int_equal(caught(f, do_load, 0x5000, 4), EXC_PF);
	assert_int_equal(c->s.exc_error, PF_P);
	c->s.rflags |= FL_AC;
	vcpu_update_view(c);
	assert_int_equal(caught(f, do_load, 0x5000, 4), -1);
	assert_int_equal(caught(f, do_sys_load, 0x5000, 4), EXC_PF); /* implicit: AC or not */
	c->s.rflags &= ~(uint64_t)FL_AC;
	vcpu_update_view(c);
	assert_int_equal(caught(f, do_load, 0x5000, 4), EXC_PF);
	c->s.seg[SEG_SS].attr |= ATTR_DPL;
	vcpu_update_mode(c);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(caught(f, do_store, 0x5000, 4), -1);
	assert_int_equal(caught(f, do_store, 0x6000, 4), EXC_PF);
	assert_int_equal(c->s.exc_error, PF_P | PF_W | PF_U);
	assert_int_equal(c->s.cr2, 0x6000);
	assert_int_equal(caught(f, do_sys_load, 0x6000, 4), -1);
}

struct seen {
	unsigned n;
	gpa_t gpa[64];
};

static void see(void *arg, gpa_t gpa, uint64_t bytes)
{
	struct seen *s = arg;

	for (uint64_t at = 0; at < bytes && s->n < ARRAY_SIZE(s->gpa); at += 4096)
		s->gpa[s->n++] = gpa + at;
}

static bool saw(const struct seen *s, gpa_t gpa)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->gpa[i] == gpa)
			return true;
	return false;
}

static void writes_reach_the_dirty_log_once_after_each_flush(void **state)
{
	struct fix *f = *state;
	struct seen seen = {0};

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W | F_A | F_D);
	map(f, 6, 0x9000 | F_P | F_W);
	lin_store(f->c, 0x5000, 8, 1);
	assert_int_equal(mem_log_start(f->mem), 0);
	tlb_flush_all(f->c);
	lin_load(f->c, 0x5000, 8);
	assert_null(tlb_write_ptr(f->c, 0x5000, 8));
	lin_store(f->c, 0x5000, 8, 2);
	lin_store(f->c, 0x6000, 8, 2);
	mem_log_harvest(f->mem, see, &seen);
	assert_true(saw(&seen, 0x8000));
	assert_true(saw(&seen, 0x9000));
	assert_true(saw(&seen, PT)); /* accessed and dirty bits are writes too */
	tlb_flush_all(f->c);
	seen.n = 0;
	mem_log_harvest(f->mem, see, &seen);
	assert_int_equal(seen.n, 0);
	lin_store(f->c, 0x5000, 8, 3);
	mem_log_harvest(f->mem, see, &seen);
	assert_true(saw(&seen, 0x8000));
	mem_log_stop(f->mem);
}

/* --- slow accesses ---------------------------------------------------------------- */

static void a_store_across_pages_faults_before_it_writes(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W);
	assert_int_equal(caught(f, do_store, 0x5ffc, 8), EXC_PF);
	assert_int_equal(f->c->s.cr2, 0x6000);
	assert_int_equal(f->c->s.exc_error, PF_W);
	assert_int_equal(peek(f, 0x8ff8), 0);
	map(f, 6, 0xb000 | F_P | F_W);
	assert_int_equal(caught(f, do_store, 0x5ffc, 8), -1);
	assert_int_equal(peek(f, 0x8ff8), STORED << 32);
	assert_int_equal(peek(f, 0xb000), STORED >> 32);
	assert_int_equal(lin_load(f->c, 0x5ffc, 8), STORED);
}

static void noncanonical_addresses_fault_by_their_segment(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;
	gva_t bad = 0x800000000000ULL;

	long_mode(f);
	assert_int_equal((c->last_seg = SEG_DS, caught(f, do_load, bad, 8)), EXC_GP);
	assert_int_equal((c->last_seg = SEG_SS, caught(f, do_load, bad, 8)), EXC_SS);
	assert_int_equal(caught(f, do_store, bad - 4, 8), EXC_SS);
	assert_int_equal(c->s.exc_error, 0);
}

/* Run @fn, answering outside accesses with 0x10, 0x11 ...; they are in f->log. */
static void with_mmio(struct fix *f, access_fn *fn, gva_t lin, unsigned size)
{
	struct vcpu *c = f->c;

	f->nlog = 0;
	c->memo_n = 0;
	if (setjmp(c->env)) {
		c->memo[c->memo_n - 1].data = f->exit.write ? f->exit.data : 0x10 + f->nlog;
		f->log[f->nlog++] = f->exit;
		c->ext_waiting = false;
	}
	c->memo_pos = 0;
	fn(f, lin, size);
}

static void device_memory_is_accessed_in_aligned_pieces(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	map(f, 5, MMIO_GPA | F_P | F_W);
	with_mmio(f, do_load, 0x5004, 4);
	assert_int_equal(f->nlog, 1);
	assert_int_equal(f->log[0].addr, MMIO_GPA + 4);
	assert_int_equal(f->log[0].size, 4);
	assert_int_equal(f->value, 0x10);
	with_mmio(f, do_store, 0x5003, 8);
	assert_int_equal(f->nlog, 4);
	assert_int_equal(f->log[0].size, 1);
	assert_int_equal(f->log[0].data, 0x88);
	assert_int_equal(f->log[1].size, 4);
	assert_int_equal(f->log[1].addr, MMIO_GPA + 4);
	assert_int_equal(f->log[1].data, 0x44556677);
	assert_int_equal(f->log[2].size, 2);
	assert_int_equal(f->log[2].data, 0x2233);
	assert_int_equal(f->log[3].size, 1);
	assert_int_equal(f->log[3].data, 0x11);
}

static void a_read_modify_write_of_device_memory_accesses_it_twice(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	map(f, 5, MMIO_GPA | F_P | F_W);
	with_mmio(f, do_rmw, 0x5000, 4);
	assert_int_equal(f->nlog, 2);
	assert_false(f->log[0].write);
	assert_true(f->log[1].write);
	assert_int_equal(f->log[1].data, 0x11);
}

static void the_memo_is_dropped_when_the_instruction_asks_something_else(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;
	uint64_t v = 0;

	c->memo[0] = (struct ext_memo){.reason = EXIT_MMIO, .size = 4, .addr = 0x100, .data = 5};
	c->memo[1] = (struct ext_memo){.reason = EXIT_MMIO, .size = 4, .addr = 0x200, .data = 6};
	c->memo_n = 2;
	c->memo_pos = 0;
	if (!setjmp(c->env)) {
		ext_access(c, EXIT_MMIO, 0x100, 4, false, &v, NULL);
		assert_int_equal(v, 5);
		ext_access(c, EXIT_MMIO, 0x204, 4, false, &v, NULL);
		fail_msg("answered from another access's memo");
	}
	assert_int_equal(c->memo_n, 2);
	assert_int_equal(f->exit.addr, 0x204);
	assert_true(c->ext_waiting);
}

static void alignment_is_checked_for_user_code_with_ac_set(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W | F_U);
	c->s.cr0 |= CR0_AM;
	c->s.rflags |= FL_AC;
	vcpu_update_mode(c);
	assert_int_equal(caught(f, do_load, 0x5001, 4), -1); /* CPL 0 */
	c->s.seg[SEG_SS].attr |= ATTR_DPL;
	vcpu_update_mode(c);
	assert_int_equal(caught(f, do_load, 0x5001, 4), EXC_AC);
	assert_int_equal(caught(f, do_load, 0x5004, 4), -1);
	assert_int_equal(caught(f, do_store, 0x5002, 8), EXC_AC);
	assert_ptr_equal(atomic_ptr(c, 0x5008, 8), f->ram + 0x8008);
}

static void data_breakpoints_note_a_trap_and_are_never_cached_over(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W);
	lin_store(c, 0x5000, 8, 1);
	c->s.dr[1] = 0x5010;
	c->s.dr7 = 1 << 2 | 1 << 20 | 3 << 22; /* L1, write, 4 bytes */
	vcpu_debug_changed(c);
	lin_store(c, 0x500c, 4, 1);
	lin_store(c, 0x5014, 4, 1);
	lin_load(c, 0x5010, 4);
	assert_int_equal(c->db_pending, 0);
	lin_store(c, 0x5013, 1, 1);
	assert_int_equal(c->db_pending, 2);
	assert_true(c->requests & REQ_EVENT);
	assert_null(tlb_write_ptr(c, 0x5000, 1));
	c->db_pending = 0;
	lin_store(c, 0x500f, 2, 1);
	assert_int_equal(c->db_pending, 2);
	c->s.dr7 = 0;
	vcpu_debug_changed(c);
	lin_store(c, 0x5010, 1, 1);
	assert_non_null(tlb_write_ptr(c, 0x5010, 1));
}

static void own_stores_into_the_running_page_end_the_block(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	map(f, 5, 0x8000 | F_P | F_W);
	map(f, 6, 0x9000 | F_P | F_W);
	f->c->code_page = (uintptr_t)f->ram + 0x8000;
	f->c->end_block = false;
	lin_store(f->c, 0x6000, 1, 1);
	assert_false(f->c->end_block);
	lin_store(f->c, 0x5000, 1, 1); /* slow: fills the TLB */
	assert_true(f->c->end_block);
	f->c->end_block = false;
	lin_store(f->c, 0x5000, 1, 1); /* fast */
	assert_true(f->c->end_block);
}

static void bases_that_64_bit_code_ignores_come_back(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;
	struct cpu_state copy;

	long_mode(f);
	c->s.seg[SEG_CS].attr = ATTR_P | ATTR_S | ATTR_X | ATTR_DB;
	c->s.seg[SEG_DS] = (struct cpu_seg){0x1000, 0xffffffff, 0x17, ATTR_P | ATTR_S | ATTR_W};
	vcpu_update_mode(c);
	assert_int_equal(c->mode, MODE_32);
	assert_int_equal(seg_lin(c, SEG_DS, 4, 4, ACCESS_READ), 0x1004);
	c->s.seg[SEG_CS].attr = ATTR_P | ATTR_S | ATTR_X | ATTR_L;
	vcpu_update_mode(c);
	assert_int_equal(seg_lin(c, SEG_DS, 4, 4, ACCESS_READ), 4);
	copy = c->s;
	vcpu_restore_bases(c, &copy);
	assert_int_equal(copy.seg[SEG_DS].base, 0x1000);
	c->s.seg[SEG_CS].attr = ATTR_P | ATTR_S | ATTR_X | ATTR_DB;
	vcpu_update_mode(c);
	assert_int_equal(c->s.seg[SEG_DS].base, 0x1000);
}

/* --- double faults -------------------------------------------------------------- */

static void exceptions_during_delivery_combine_as_the_table_says(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;
	static const struct {
		int delivering;
		uint8_t second;
		int result; /* -1: shutdown */
	} t[] = {
		{-1, EXC_GP, EXC_GP},
		{EXC_UD, EXC_PF, EXC_PF},
		{EXC_GP, EXC_NP, EXC_DF},
		{EXC_GP, EXC_PF, EXC_PF},
		{EXC_DE, EXC_TS, EXC_DF},
		{EXC_PF, EXC_PF, EXC_DF},
		{EXC_PF, EXC_GP, EXC_DF},
		{EXC_PF, EXC_UD, EXC_UD},
		{EXC_DF, EXC_GP, -1},
		{EXC_DF, EXC_PF, -1},
		{EXC_DF, EXC_DB, EXC_DB},
		{DELIVER_INT | EXC_GP, EXC_GP, EXC_GP},
		{DELIVER_NMI | EXC_NMI, EXC_PF, EXC_PF},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		c->delivering = t[i].delivering;
		c->s.activity = CPU_ACTIVE;
		c->s.int_injected = 1;
		if (!setjmp(c->env))
			raise_err(c, t[i].second, 8);
		assert_int_equal(c->delivering, -1);
		assert_int_equal(c->s.exc_pending, t[i].result >= 0);
		assert_int_equal(c->s.activity == CPU_SHUTDOWN, t[i].result < 0);
		if (t[i].result >= 0)
			assert_int_equal(c->s.exc_vector, t[i].result);
		if (t[i].result == EXC_DF)
			assert_int_equal(c->s.exc_error, 0);
		assert_int_equal(c->s.int_injected,
				 t[i].delivering < 0 || !(t[i].delivering & DELIVER_INT));
	}
}

static void unwinding_releases_the_split_lock(void **state)
{
	struct fix *f = *state;

	assert_int_equal(caught(f, do_locked_fault, 0, 0), EXC_GP);
	assert_int_equal(pthread_mutex_trylock(&f->vm.split), 0);
	pthread_mutex_unlock(&f->vm.split);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_write_sets_the_dirty_bit_and_reads_do_not),
		TEST(global_pages_survive_a_flush_of_the_others),
		TEST(invlpg_drops_every_part_of_a_large_page),
		TEST(views_do_not_share_rights),
		TEST(writes_reach_the_dirty_log_once_after_each_flush),
		TEST(a_store_across_pages_faults_before_it_writes),
		TEST(noncanonical_addresses_fault_by_their_segment),
		TEST(device_memory_is_accessed_in_aligned_pieces),
		TEST(a_read_modify_write_of_device_memory_accesses_it_twice),
		TEST(the_memo_is_dropped_when_the_instruction_asks_something_else),
		TEST(alignment_is_checked_for_user_code_with_ac_set),
		TEST(data_breakpoints_note_a_trap_and_are_never_cached_over),
		TEST(own_stores_into_the_running_page_end_the_block),
		TEST(bases_that_64_bit_code_ignores_come_back),
		TEST(exceptions_during_delivery_combine_as_the_table_says),
		TEST(unwinding_releases_the_split_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
