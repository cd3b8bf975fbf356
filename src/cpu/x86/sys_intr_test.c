/* SPDX-License-Identifier: Apache-2.0 */
/* sys_intr_test.c - event delivery, virtual-8086 mode and returns from handlers. */
#include "cpu/x86/sys_fixture.h"

/* --- events ------------------------------------------------------------------------- */

static void bad_gates_name_their_vector(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	flat32(t);
	c->s.idt.limit = 0x40 * 8 - 1;
	idt32(t, 0x20, 0x8e, G_CS32, 0x1234);
	idt32(t, 0x21, 0x0e, G_CS32, 0x1234);
	idt32(t, 0x22, 0x8c, G_CS32, 0x1234);
	idt32(t, 0x23, 0x8e, G_DS, 0x1234);
	idt32(t, 0x24, 0x8e, 0, 0x1234);
	idt32(t, 0x25, 0x8e, 0x48, 0x1234);
	idt32(t, 0x26, 0x8e, 0x70, 0x1234);
	put_gdt(t, 0x48, 0, 0xfffff, CODE & ~NOT_PRESENT);
	put_gdt(t, 0x70, 0, 0xfff, CODE | DB);
	RAISES(t, EXC_GP, 0x40 * 8 | 3, deliver_event(c, 0x40, false, false, 0, 0));
	RAISES(t, EXC_GP, 0x40 * 8 | 2, deliver_event(c, 0x40, true, false, 0, 0));
	RAISES(t, EXC_NP, 0x21 * 8 | 3, deliver_event(c, 0x21, false, false, 0, 0));
	RAISES(t, EXC_GP, 0x22 * 8 | 3, deliver_event(c, 0x22, false, false, 0, 0));
	RAISES(t, EXC_GP, G_DS | 1, deliver_event(c, 0x23, false, false, 0, 0));
	RAISES(t, EXC_GP, 1, deliver_event(c, 0x24, false, false, 0, 0));
	RAISES(t, EXC_NP, 0x48 | 1, deliver_event(c, 0x25, false, false, 0, 0));
	RAISES(t, EXC_GP, 1, deliver_event(c, 0x26, false, false, 0, 0)); /* beyond CS */
	set_cpl(t, 3);
	RAISES(t, EXC_GP, 0x20 * 8 | 2, deliver_event(c, 0x20, true, false, 0, 0));
}

static void a_32_bit_gate_pushes_on_the_same_stack_or_the_inner_one(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	flat32(t);
	c->s.idt.limit = 0x40 * 8 - 1;
	idt32(t, 14, 0x8e, G_CS32, 0x12345678);
	idt32(t, 0x21, 0xef, G_CS32, 0x1234);
	c->s.rflags = FL_RES1 | FL_IF | FL_TF | FL_NT | FL_CF;
	PASSES(t, deliver_event(c, 14, false, true, 0xabcd, 0x5555));
	assert_int_equal(c->s.rip, 0x12345678);
	assert_int_equal(c->s.rflags, FL_RES1 | FL_CF);
	assert_int_equal(c->s.gpr[GPR_RSP], G_STACK - 16);
	assert_int_equal(peek32(t, G_STACK - 16), 0xabcd);
	assert_int_equal(peek32(t, G_STACK - 12), 0x5555);
	assert_int_equal(peek32(t, G_STACK - 8), G_CS32);
	assert_int_equal(peek32(t, G_STACK - 4), FL_RES1 | FL_IF | FL_TF | FL_NT | FL_CF);

	flat32(t);
	set_cpl(t, 3);
	tss32(t, G_DS, 0x31000);
	c->s.rflags = FL_RES1 | FL_IF;
	PASSES(t, deliver_event(c, 0x21, true, false, 0, 0x6666));
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.rflags, FL_RES1 | FL_IF); /* a trap gate */
	assert_int_equal(c->s.seg[SEG_SS].sel, G_DS);
	assert_int_equal(c->s.gpr[GPR_RSP], 0x31000 - 20);
	assert_int_equal(peek32(t, 0x31000 - 4), G_DS | 3);
	assert_int_equal(peek32(t, 0x31000 - 8), G_STACK);
	assert_int_equal(peek32(t, 0x31000 - 16), G_CS32 | 3);
	assert_int_equal(peek32(t, 0x31000 - 20), 0x6666);
}

static void the_inner_stack_is_checked_with_ts_and_ss(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	flat32(t);
	c->s.idt.limit = 0x40 * 8 - 1;
	idt32(t, 0x20, 0x8e, G_CS32, 0x1234);
	put_gdt(t, 0x40, 0, 0xfffff, DATA & ~NOT_PRESENT);
	put_gdt(t, 0x48, 0x30000, 0x13, DATA | DB);
	set_cpl(t, 3);
	tss32(t, 0, 0x31000);
	RAISES(t, EXC_TS, 1, deliver_event(c, 0x20, false, false, 0, 0));
	tss32(t, T_NGDT * 8, 0x31000);
	RAISES(t, EXC_TS, T_NGDT * 8 | 1, deliver_event(c, 0x20, false, false, 0, 0));
	tss32(t, G_CS32, 0x31000);
	RAISES(t, EXC_TS, G_CS32 | 1, deliver_event(c, 0x20, false, false, 0, 0));
	tss32(t, G_DS | 3, 0x31000);
	RAISES(t, EXC_TS, G_DS | 1, deliver_event(c, 0x20, false, false, 0, 0));
	tss32(t, 0x40, 0x31000);
	RAISES(t, EXC_SS, 0x41, deliver_event(c, 0x20, false, false, 0, 0));
	tss32(t, 0x48, 0x10); /* no room for 20 bytes */
	RAISES(t, EXC_SS, 0x49, deliver_event(c, 0x20, false, false, 0, 0));
	c->s.tr.limit = 8;
	RAISES(t, EXC_TS, G_TR | 1, deliver_event(c, 0x20, false, false, 0, 0));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.gpr[GPR_RSP], G_STACK);
}

static void long_mode_aligns_the_stack_and_pushes_five(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	long64(t);
	guest_gate(t->g, 13, 0xffff800012345678, 0);
	c->s.gpr[GPR_RSP] = G_STACK - 3;
	PASSES(t, deliver_event(c, 13, false, true, 0x18, 0x5555));
	assert_int_equal(c->s.rip, 0xffff800012345678);
	assert_int_equal(c->s.gpr[GPR_RSP], G_STACK - 16 - 48);
	assert_int_equal(peek64(t->g, G_STACK - 24), G_DS);
	assert_int_equal(peek64(t->g, G_STACK - 32), G_STACK - 3);
	assert_int_equal(peek64(t->g, G_STACK - 48), G_CS64);
	assert_int_equal(peek64(t->g, G_STACK - 56), 0x5555);
	assert_int_equal(peek64(t->g, G_STACK - 64), 0x18);
	assert_int_equal(c->s.seg[SEG_SS].sel, G_DS); /* the same privilege: SS stays */
}

static void long_mode_switches_stacks_by_ist_and_privilege(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	long64(t);
	guest_gate(t->g, 2, 0x1234, 0);
	poke64(t->g, G_IDT + 2 * 16, peek64(t->g, G_IDT + 2 * 16) | 3ULL << 32);
	poke64(t->g, G_TSS + 28 + 24, 0x40008);
	PASSES(t, deliver_event(c, 2, false, false, 0, 0x5555));
	assert_int_equal(c->s.gpr[GPR_RSP], 0x40000 - 40);
	long64(t);
	guest_gate(t->g, 0x80, 0x1234, 3);
	set_cpl(t, 3);
	PASSES(t, deliver_event(c, 0x80, true, false, 0, 0x5555));
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.gpr[GPR_RSP], G_STACK + 0x1000 - 40);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0);
	assert_int_equal(c->s.seg[SEG_SS].attr, 0);
	long64(t);
	set_cpl(t, 3);
	poke64(t->g, G_TSS + 4, BIT(60));
	RAISES(t, EXC_SS, 0, deliver_event(c, 0x80, true, false, 0, 0x5555));
	RAISES(t, EXC_SS, 1, deliver_event(c, 0x80, false, false, 0, 0x5555));
}

static void icebp_takes_held_back_debug_traps_along(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	const struct insn icebp = {.op = OP_ICEBP};

	long64(t);
	guest_gate(t->g, EXC_DB, 0x1234, 0);
	c->db_pending = 2;
	PASSES(t, op_icebp(c, &icebp));
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.dr6, 0xffff0ff2);
	assert_int_equal(c->db_pending, 0);
}

static void long_mode_handlers_must_be_64_bit_code(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	long64(t);
	guest_gate(t->g, 0x20, 0x1234, 0);
	poke64(t->g, G_IDT + 0x20 * 16,
	       (peek64(t->g, G_IDT + 0x20 * 16) & ~0xffff0000ULL) | G_CS32 << 16);
	RAISES(t, EXC_GP, G_CS32 | 1, deliver_event(c, 0x20, false, false, 0, 0));
	guest_gate(t->g, 0x20, BIT(60), 0);
	RAISES(t, EXC_GP, 1, deliver_event(c, 0x20, false, false, 0, 0));
	guest_gate(t->g, 0x20, 0x1234, 0);
	poke64(t->g, G_IDT + 0x20 * 16,
	       (peek64(t->g, G_IDT + 0x20 * 16) & ~(15ULL << 40)) | 5ULL << 40);
	RAISES(t, EXC_GP, 0x20 * 8 | 3, deliver_event(c, 0x20, false, false, 0, 0));
}

static void real_mode_vectors_push_six_bytes(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	guest_real(t->g);
	c->s.idt = (struct cpu_dtr){.limit = 0x3ff};
	poke64(t->g, 0x21 * 4, 0x1234 | 0xf000 << 16);
	c->s.rflags = FL_RES1 | FL_IF | FL_TF;
	PASSES(t, deliver_event(c, 0x21, true, false, 0, 0x5555));
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.seg[SEG_CS].base, 0xf0000);
	assert_int_equal(c->s.gpr[GPR_RSP], 0x6ffa);
	assert_int_equal(peek64(t->g, 0x6ffa) & 0xffffffffffff, 0x030200005555);
	assert_int_equal(c->s.rflags, FL_RES1);
	c->s.idt.limit = 0x21 * 4 + 2;
	assert_int_equal(RAISED(t, deliver_event(c, 0x21, true, false, 0, 0)), EXC_GP);
}

/* --- virtual-8086 mode ------------------------------------------------------------------ */

static void enter_vm86(struct t *t)
{
	struct vcpu *c = t->c;

	flat32(t);
	c->s.idt.limit = 0x40 * 8 - 1;
	c->s.rflags = FL_RES1 | FL_VM | FL_IF;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		seg_set_vm86(c, i, (uint16_t)(0x1000 + i));
	c->s.gpr[GPR_RSP] = 0x800;
	vcpu_update_mode(c);
}

static void vm86_events_leave_with_nine_words_and_iret_comes_back(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn iret = {.op = OP_IRET, .opsize = 4};
	struct cpu_state before;

	enter_vm86(t);
	idt32(t, 0x20, 0x8e, G_CS32, 0x1234);
	tss32(t, G_DS, 0x31000);
	c->s.rip = 0x100;
	before = c->s;
	PASSES(t, deliver_event(c, 0x20, false, false, 0, 0x100));
	assert_int_equal(c->cpl, 0);
	assert_false(in_vm86(c));
	assert_int_equal(c->s.gpr[GPR_RSP], 0x31000 - 36);
	assert_int_equal(peek32(t, 0x31000 - 4), 0x1000 + SEG_GS);
	assert_int_equal(peek32(t, 0x31000 - 16), 0x1000 + SEG_ES);
	assert_int_equal(peek32(t, 0x31000 - 20), 0x1000 + SEG_SS);
	assert_int_equal(peek32(t, 0x31000 - 28), FL_RES1 | FL_VM | FL_IF);
	assert_int_equal(c->s.seg[SEG_DS].attr, 0);
	PASSES(t, op_iret(c, &iret));
	before.exc_error = c->s.exc_error;
	assert_memory_equal(&c->s, &before, offsetof(struct cpu_state, gdt));
	assert_int_equal(c->cpl, 3);
}

static void vm86_needs_iopl_for(struct t *t, uint16_t op)
{
	struct insn i = {.op = op, .opsize = 2, .imm = 0x20};

	enter_vm86(t);
	RAISES(t, EXC_GP, 0, bind_sys(&i)(t->c, &i));
	t->c->s.rflags |= FL_IOPL;
	if (op != OP_INT)
		PASSES(t, bind_sys(&i)(t->c, &i));
}

static void vm86_code_without_iopl_faults_on_what_it_may_not(void **state)
{
	static const uint16_t ops[] = {OP_CLI, OP_STI, OP_PUSHF, OP_POPF, OP_IRET, OP_INT};
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn i = {.opsize = 2};

	for (unsigned n = 0; n < ARRAY_SIZE(ops); n++)
		vm86_needs_iopl_for(t, ops[n]);
	enter_vm86(t);
	i.op = OP_LAR;
	RAISES(t, EXC_UD, NO_ERROR, bind_sys(&i)(c, &i));
	/* a handler of privilege 3 is not for virtual-8086 mode */
	put_gdt(t, 0x40, 0, 0xfffff, CODE | DPL3 | DB | G);
	idt32(t, 0x20, 0xee, 0x40, 0x1234);
	RAISES(t, EXC_GP, 0x41, deliver_event(c, 0x20, false, false, 0, 0));
}

/* --- returns ------------------------------------------------------------------------------ */

static void iretq_checks_what_it_pops_and_changes_nothing_when_it_faults(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	const struct insn iret = {.op = OP_IRET, .opsize = 8};
	uint64_t rsp;

	long64(t);
	put_gdt(t, 0x40, 0, 0xfffff, (CODE & ~NOT_PRESENT) | DPL3 | L | G);
	put_gdt(t, 0x48, 0, 0xfffff, (DATA & ~NOT_PRESENT) | DPL3 | DB | G);
	put_gdt(t, 0x50, 0, 0xfffff, CODE | DPL3 | L | DB | G);
#define BAD(vec, err, ...)                                \
	do {                                              \
		FRAME(t, __VA_ARGS__);                    \
		rsp = c->s.gpr[GPR_RSP];                  \
		RAISES(t, vec, err, op_iret(c, &iret));   \
		assert_int_equal(c->s.gpr[GPR_RSP], rsp); \
		assert_int_equal(c->cpl, 0);              \
		assert_int_equal(c->s.rflags, FL_RES1);   \
	} while (0)
	BAD(EXC_GP, 0, 0x1234, 0, 2, 0x5000, G_UDS);
	BAD(EXC_GP, G_UDS & ~3, 0x1234, G_UDS, 2, 0x5000, G_UDS);
	BAD(EXC_GP, G_UCS64 & ~3, 0x1234, G_UCS64 & ~3, 2, 0x5000, G_UDS);
	BAD(EXC_NP, 0x40, 0x1234, 0x43, 2, 0x5000, G_UDS);
	BAD(EXC_GP, 0x50, 0x1234, 0x53, 2, 0x5000, G_UDS);
	BAD(EXC_SS, 0x48, 0x1234, G_UCS64, 2, 0x5000, 0x4b);
	BAD(EXC_GP, 0, 0x1234, G_UCS64, 2, 0x5000, 3);
	BAD(EXC_GP, G_DS, 0x1234, G_UCS64, 2, 0x5000, G_DS);
	BAD(EXC_GP, 0, BIT(50), G_UCS64, 2, 0x5000, G_UDS);
	FRAME(t, 0x1234, G_UCS64, 0x3207, 0x5000, G_UDS);
	PASSES(t, op_iret(c, &iret));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.gpr[GPR_RSP], 0x5000);
	assert_int_equal(c->s.rflags, 0x3207);
	/* kernel data segments are not for privilege 3 */
	assert_int_equal(c->s.seg[SEG_DS].attr, 0);
}

static void iret_to_a_null_ss_works_inside_the_kernel_alone(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	const struct insn iret = {.op = OP_IRET, .opsize = 8};

	long64(t);
	FRAME(t, 0x1234, G_CS64, 2, 0x5000, 0);
	PASSES(t, op_iret(c, &iret));
	assert_int_equal(c->s.gpr[GPR_RSP], 0x5000);
	assert_int_equal(c->cpl, 0);
	FRAME(t, 0x1234, G_CS32, 2, 0x5000, 0);
	RAISES(t, EXC_GP, 0, op_iret(c, &iret)); /* compatibility code needs one */
}

static void iret_with_nt_in_long_mode_faults_and_unblocks_nmis(void **state)
{
	struct t *t = *state;
	const struct insn iret = {.op = OP_IRET, .opsize = 8};

	long64(t);
	t->c->s.nmi_blocked = 1;
	t->c->s.rflags |= FL_NT;
	RAISES(t, EXC_GP, 0, op_iret(t->c, &iret));
	assert_int_equal(t->c->s.nmi_blocked, 0);
}

static void iret_to_a_16_bit_stack_keeps_bits_16_to_31_of_the_kernels(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	const struct insn iret = {.op = OP_IRET, .opsize = 8};

	long64(t);
	put_gdt(t, 0x40, 0, 0xffff, DATA | DPL3);
	put_gdt(t, 0x48, 0, 0xfffff, CODE | DPL3 | DB | G);
	FRAME(t, 0x1234, 0x4b, 2, 0xaaaabbbb, 0x43);
	PASSES(t, op_iret(c, &iret));
	assert_int_equal(c->s.gpr[GPR_RSP], (G_STACK - 40) / 0x10000 * 0x10000 | 0xbbbb);
	assert_int_equal(c->mode, MODE_32);
}

static void flags_beyond_the_privilege_are_not_popped(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	const struct insn popf = {.op = OP_POPF, .opsize = 8}, iret = {.op = OP_IRET, .opsize = 8};

	long64(t);
	set_cpl(t, 3);
	c->s.rflags = FL_RES1 | FL_IF;
	FRAME(t, 0x3f7fd7);
	PASSES(t, bind_sys(&popf)(c, &popf));
	/* IOPL, RF, VM, VIF, VIP stay out; IF stays; AC and ID come */
	assert_int_equal(c->s.rflags, (0x3f7fd7 & ~(FL_IOPL | FL_RF | FL_VM | FL_VIF | FL_VIP)));
	long64(t);
	set_cpl(t, 3);
	c->s.rflags = FL_RES1 | FL_IF;
	FRAME(t, 0x1234, G_UCS64, FL_RES1 | FL_IOPL | FL_CF, 0x5000, G_UDS);
	PASSES(t, op_iret(c, &iret));
	assert_int_equal(c->s.rflags, FL_RES1 | FL_IF | FL_CF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bad_gates_name_their_vector),
		TEST(a_32_bit_gate_pushes_on_the_same_stack_or_the_inner_one),
		TEST(the_inner_stack_is_checked_with_ts_and_ss),
		TEST(long_mode_aligns_the_stack_and_pushes_five),
		TEST(long_mode_switches_stacks_by_ist_and_privilege),
		TEST(icebp_takes_held_back_debug_traps_along),
		TEST(long_mode_handlers_must_be_64_bit_code),
		TEST(real_mode_vectors_push_six_bytes),
		TEST(vm86_events_leave_with_nine_words_and_iret_comes_back),
		TEST(vm86_code_without_iopl_faults_on_what_it_may_not),
		TEST(iretq_checks_what_it_pops_and_changes_nothing_when_it_faults),
		TEST(iret_to_a_null_ss_works_inside_the_kernel_alone),
		TEST(iret_with_nt_in_long_mode_faults_and_unblocks_nmis),
		TEST(iret_to_a_16_bit_stack_keeps_bits_16_to_31_of_the_kernels),
		TEST(flags_beyond_the_privilege_are_not_popped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
