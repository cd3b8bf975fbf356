/* SPDX-License-Identifier: Apache-2.0 */
/* sys_seg_test.c - segment loads, far transfers and tasks, by the manual's checks. */
#include "cpu/x86/sys_fixture.h"

/* --- segment loads --------------------------------------------------------------- */

static void data_segments_are_loaded_with_their_cache(void **state)
{
	struct t *t = *state;
	const struct cpu_seg *ds = &t->c->s.seg[SEG_DS];

	flat32(t);
	put_gdt(t, 0x40, 0x12345678, 0x00fff, (DATA & ~ATTR_A) | DB | G);
	PASSES(t, seg_load(t->c, SEG_DS, 0x40));
	assert_int_equal(ds->base, 0x12345678);
	assert_int_equal(ds->limit, 0xffffff);
	assert_int_equal(ds->attr, DATA | DB | G);
	assert_int_equal(ds->sel, 0x40);
	/* the accessed bit is in memory now */
	assert_int_equal(peek64(t->g, G_GDT + 0x40) >> 40 & 0xff, DATA);
}

static void bad_data_selectors_fault_in_the_order_of_the_manual(void **state)
{
	struct t *t = *state;

	flat32(t);
	put_gdt(t, 0x40, 0, 0xfffff, DATA);
	put_gdt(t, 0x48, 0, 0xfffff, CODE_XO);
	put_gdt(t, 0x50, 0, 0xfffff, DATA & ~NOT_PRESENT);
	put_gdt(t, 0x58, 0, 0xfffff, 0x82); /* an LDT */
	put_gdt(t, 0x60, 0, 0xfffff, CODE_CONF);
	RAISES(t, EXC_GP, T_NGDT * 8, seg_load(t->c, SEG_DS, T_NGDT * 8));
	RAISES(t, EXC_GP, 0x48, seg_load(t->c, SEG_DS, 0x48));
	RAISES(t, EXC_NP, 0x50, seg_load(t->c, SEG_DS, 0x50));
	RAISES(t, EXC_GP, 0x58, seg_load(t->c, SEG_ES, 0x58));
	RAISES(t, EXC_GP, 0x40, seg_load(t->c, SEG_FS, 0x43)); /* RPL 3, DPL 0 */
	RAISES(t, EXC_GP, 0x44, seg_load(t->c, SEG_GS, 0x44)); /* no LDT */
	RAISES(t, EXC_UD, NO_ERROR, seg_load(t->c, SEG_CS, 0x08));
	set_cpl(t, 3);
	RAISES(t, EXC_GP, 0x40, seg_load(t->c, SEG_DS, 0x40));
	PASSES(t, seg_load(t->c, SEG_DS, 0x63)); /* conforming code: any privilege */
	PASSES(t, seg_load(t->c, SEG_DS, 3));
	assert_int_equal(t->c->s.seg[SEG_DS].attr, 0);
	RAISES(t, EXC_GP, 0, seg_lin(t->c, SEG_DS, 0, 1, ACCESS_READ));
}

static void ss_takes_only_writable_data_of_its_privilege(void **state)
{
	struct t *t = *state;

	flat32(t);
	put_gdt(t, 0x40, 0, 0xfffff, DATA_RO);
	put_gdt(t, 0x48, 0, 0xfffff, DATA & ~NOT_PRESENT);
	put_gdt(t, 0x50, 0, 0xfffff, DATA | DPL3);
	RAISES(t, EXC_GP, 0, seg_load(t->c, SEG_SS, 0));
	RAISES(t, EXC_GP, 0x40, seg_load(t->c, SEG_SS, 0x40));
	RAISES(t, EXC_SS, 0x48, seg_load(t->c, SEG_SS, 0x48));
	RAISES(t, EXC_GP, 0x50, seg_load(t->c, SEG_SS, 0x50));
	RAISES(t, EXC_GP, 0x10, seg_load(t->c, SEG_SS, 0x13));
	PASSES(t, seg_load(t->c, SEG_SS, 0x10));
	set_cpl(t, 3);
	PASSES(t, seg_load(t->c, SEG_SS, 0x53));
}

static void a_null_ss_is_for_64_bit_code_below_privilege_3(void **state)
{
	struct t *t = *state;

	long64(t);
	PASSES(t, seg_load(t->c, SEG_SS, 0));
	RAISES(t, EXC_GP, 0, seg_load(t->c, SEG_SS, 1));
	PASSES(t, seg_load(t->c, SEG_SS, G_DS));
	set_cpl(t, 3);
	RAISES(t, EXC_GP, 0, seg_load(t->c, SEG_SS, 3));
}

static void the_ldt_is_searched_for_selectors_with_ti(void **state)
{
	struct t *t = *state;

	flat32(t);
	t->c->s.ldt = (struct cpu_seg){.base = T_LDT, .limit = 15, .sel = 0x40, .attr = 0x82};
	poke64(t->g, T_LDT + 8, descriptor(0x5000, 0xff, DATA));
	PASSES(t, seg_load(t->c, SEG_ES, 0x0c));
	assert_int_equal(t->c->s.seg[SEG_ES].base, 0x5000);
	RAISES(t, EXC_GP, 0x14, seg_load(t->c, SEG_ES, 0x14));
}

static void limits_and_types_are_checked_by_every_access(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	flat32(t);
	put_gdt(t, 0x40, 0x1000, 0xfff, DATA);
	put_gdt(t, 0x48, 0x1000, 0xfff, 0x97); /* grows down, 16 bits */
	put_gdt(t, 0x50, 0, 0xfffff, DATA_RO | G);
	put_gdt(t, 0x58, 0, 0xfffff, CODE | G);
	PASSES(t, seg_load(c, SEG_ES, 0x40));
	PASSES(t, assert_int_equal(seg_lin(c, SEG_ES, 0xffc, 4, ACCESS_WRITE), 0x1ffc));
	RAISES(t, EXC_GP, 0, seg_lin(c, SEG_ES, 0xffd, 4, ACCESS_READ));
	RAISES(t, EXC_GP, 0, seg_lin(c, SEG_ES, 0xfffffffe, 4, ACCESS_READ));
	PASSES(t, seg_load(c, SEG_ES, 0x48));
	RAISES(t, EXC_GP, 0, seg_lin(c, SEG_ES, 0xfff, 1, ACCESS_READ));
	PASSES(t, seg_lin(c, SEG_ES, 0x1000, 1, ACCESS_READ));
	PASSES(t, seg_lin(c, SEG_ES, 0xfffc, 4, ACCESS_READ));
	RAISES(t, EXC_GP, 0, seg_lin(c, SEG_ES, 0xfffd, 4, ACCESS_READ));
	PASSES(t, seg_load(c, SEG_ES, 0x50));
	PASSES(t, seg_lin(c, SEG_ES, 0, 4, ACCESS_READ));
	RAISES(t, EXC_GP, 0, seg_lin(c, SEG_ES, 0, 4, ACCESS_WRITE));
	PASSES(t, seg_load(c, SEG_ES, 0x58));
	PASSES(t, seg_lin(c, SEG_ES, 0, 4, ACCESS_READ));
	RAISES(t, EXC_GP, 0, seg_lin(c, SEG_ES, 0, 4, ACCESS_WRITE));
	PASSES(t, seg_load(c, SEG_SS, 0x40));
	RAISES(t, EXC_SS, 0, seg_lin(c, SEG_SS, 0x1000, 1, ACCESS_READ));
}

static void real_mode_keeps_limits_and_vm86_does_not(void **state)
{
	struct t *t = *state;

	guest_real(t->g);
	t->c->s.seg[SEG_DS].limit = 0xffffffff;
	PASSES(t, seg_load(t->c, SEG_DS, 0x1234));
	assert_int_equal(t->c->s.seg[SEG_DS].base, 0x12340);
	assert_int_equal(t->c->s.seg[SEG_DS].limit, 0xffffffff);
	flat32(t);
	t->c->s.rflags |= FL_VM;
	PASSES(t, seg_load(t->c, SEG_DS, 0x1234));
	assert_int_equal(t->c->s.seg[SEG_DS].base, 0x12340);
	assert_int_equal(t->c->s.seg[SEG_DS].limit, 0xffff);
	assert_int_equal(t->c->s.seg[SEG_DS].attr, 0xf3);
}

static void a_base_from_compatibility_mode_comes_back_unless_replaced(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	uint16_t code64 = 0, code32;

	long64(t);
	code64 = c->s.seg[SEG_CS].attr;
	code32 = (uint16_t)((code64 & ~ATTR_L) | ATTR_DB);
	put_gdt(t, 0x40, 0x7000, 0xfffff, DATA | DB | G);
	put_gdt(t, 0x48, 0, 0xfffff, DATA | DB | G);
	PASSES(t, seg_load(c, SEG_DS, 0x40));
	assert_int_equal(seg_lin(c, SEG_DS, 4, 4, ACCESS_READ), 4); /* 64-bit code: no base */
	c->s.seg[SEG_CS].attr = code32;
	vcpu_update_mode(c);
	assert_int_equal(seg_lin(c, SEG_DS, 4, 4, ACCESS_READ), 0x7004);
	c->s.seg[SEG_CS].attr = code64;
	vcpu_update_mode(c);
	poke64(t->g, G_GDT + 0x40, descriptor(0, 0xfffff, DATA | DB | G));
	PASSES(t, seg_load(c, SEG_DS, 0x40)); /* the same selector, another base */
	c->s.seg[SEG_CS].attr = code32;
	vcpu_update_mode(c);
	assert_int_equal(seg_lin(c, SEG_DS, 4, 4, ACCESS_READ), 4);
}

static void lar_and_lsl_see_what_the_privilege_sees(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn lar = {.op = OP_LAR, .opsize = 4, .reg = GPR_RBX, .rm = GPR_RAX};
	struct insn lsl = {.op = OP_LSL, .opsize = 4, .reg = GPR_RBX, .rm = GPR_RAX};

	long64(t);
	put_gdt(t, 0x40, 0, 0x12345, DATA | DPL3 | DB | G);
	c->s.gpr[GPR_RAX] = 0x43;
	PASSES(t, op_lar(c, &lar));
	assert_int_equal(c->s.gpr[GPR_RBX], 0xc1f300);
	assert_true(c->s.rflags & FL_ZF);
	PASSES(t, op_lsl(c, &lsl));
	assert_int_equal(c->s.gpr[GPR_RBX], 0x12345fff);
	set_cpl(t, 3);
	c->s.gpr[GPR_RAX] = G_DS;
	PASSES(t, op_lsl(c, &lsl));
	assert_false(c->s.rflags & FL_ZF);
	assert_int_equal(c->s.gpr[GPR_RBX], 0x12345fff);
	c->s.gpr[GPR_RAX] = 0;
	PASSES(t, op_lar(c, &lar));
	assert_false(c->s.rflags & FL_ZF);
}

/* --- far transfers ------------------------------------------------------------------------- */

static void far_jumps_check_privilege_presence_and_limit(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn i = {.op = OP_JMP_FAR, .opsize = 4, .form = FORM_FAR};

	flat32(t);
	put_gdt(t, 0x40, 0, 0xfffff, CODE | DPL3 | DB | G);
	put_gdt(t, 0x48, 0, 0xfffff, (CODE & ~NOT_PRESENT) | DB | G);
	put_gdt(t, 0x50, 0, 0xff, CODE_CONF | DB);
#define JUMP(sel, off) (i.disp = (sel), i.imm = (off), op_jmp_far(c, &i))
	RAISES(t, EXC_GP, 0, JUMP(0, 0));
	RAISES(t, EXC_GP, G_DS, JUMP(G_DS, 0));
	RAISES(t, EXC_GP, 0x40, JUMP(0x40, 0));
	RAISES(t, EXC_NP, 0x48, JUMP(0x48, 0));
	RAISES(t, EXC_GP, 0, JUMP(0x50, 0x100));
	RAISES(t, EXC_GP, G_CS32, JUMP(G_CS32 | 1, 0));
	PASSES(t, JUMP(G_CS32, 0x1234));
	assert_int_equal(c->s.rip, 0x1234);
	set_cpl(t, 3);
	PASSES(t, JUMP(0x40, 0x5678));
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x43);
	PASSES(t, JUMP(0x50, 0x12)); /* conforming: runs at privilege 3 */
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x53);
	assert_int_equal(c->cpl, 3);
}

static void a_call_gate_copies_parameters_to_the_inner_stack_and_ret_releases_them(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn call = {.op = OP_CALL_FAR, .opsize = 4, .form = FORM_FAR, .disp = 0x43};
	struct insn ret = {.op = OP_RET_FAR, .opsize = 4, .form = FORM_I, .imm = 8};

	flat32(t);
	tss32(t, G_DS, 0x31000);
	put_gdt(t, 0x48, 0, 0xfffff, CODE | DPL3 | DB | G);
	poke64(t->g, G_GDT + 0x40, 0x1234 | G_CS32 << 16 | 2ULL << 32 | 0xecULL << 40);
	put_gdt(t, 0x58, 0, 0xfffff, DATA | DPL3 | DB | G);
	c->s.seg[SEG_CS] = guest_seg(0x4b, CODE | DPL3 | DB | G);
	c->s.seg[SEG_SS] = guest_seg(0x5b, DATA | DPL3 | DB | G);
	c->s.seg[SEG_DS] = c->s.seg[SEG_SS];
	vcpu_update_mode(c);
	c->s.gpr[GPR_RSP] = G_STACK - 8;
	poke64(t->g, G_STACK - 8, 0x22222222ULL << 32 | 0x11111111);
	c->s.rip = 0x777;
	PASSES(t, op_call_far(c, &call));
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.rip, 0x1234);
	assert_int_equal(c->s.gpr[GPR_RSP], 0x31000 - 24);
	assert_int_equal(peek32(t, 0x31000 - 4), 0x5b);
	assert_int_equal(peek32(t, 0x31000 - 8), G_STACK - 8);
	assert_int_equal(peek32(t, 0x31000 - 12), 0x22222222);
	assert_int_equal(peek32(t, 0x31000 - 16), 0x11111111);
	assert_int_equal(peek32(t, 0x31000 - 20), 0x4b);
	assert_int_equal(peek32(t, 0x31000 - 24), 0x777);
	PASSES(t, op_ret_far(c, &ret));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.rip, 0x777);
	assert_int_equal(c->s.gpr[GPR_RSP], G_STACK);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x5b);
	poke64(t->g, G_GDT + 0x40, 0x1234 | G_CS32 << 16 | 0x8cULL << 40);
	RAISES(t, EXC_GP, 0x40, op_call_far(c, &call)); /* the gate's DPL is 0 */
}

static void a_long_mode_call_gate_has_sixteen_bytes(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn i = {.op = OP_CALL_FAR_M,
			 .opsize = 4,
			 .msize = 6,
			 .flags = INSN_MEM,
			 .base = INSN_NOREG,
			 .index = INSN_NOREG,
			 .adsize = 8,
			 .seg = SEG_DS,
			 .disp = G_DATA};

	long64(t);
	set_cpl(t, 3);
	poke64(t->g, G_DATA, 0x40ULL << 32);
	poke64(t->g, G_GDT + 0x40, 0x1234 | G_CS64 << 16 | 0xecULL << 40);
	poke64(t->g, G_GDT + 0x48, 0xffff8000);
	c->s.rip = 0x777;
	PASSES(t, op_call_far_m(c, &i));
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.rip, 0xffff800000001234);
	assert_int_equal(c->s.gpr[GPR_RSP], G_STACK + 0x1000 - 32);
	assert_int_equal(peek64(t->g, G_STACK + 0x1000 - 32), 0x777);
	long64(t);
	poke64(t->g, G_GDT + 0x48, 1ULL << 40);
	RAISES(t, EXC_GP, 0x40, op_call_far_m(c, &i)); /* the upper half has a type */
}

/* --- tasks --------------------------------------------------------------------------------------
 */

/* TSS 0x40 at T_TSS2: 32-bit code at 0x4321, flat. */
static void make_task(struct t *t)
{
	flat32(t);
	t->c->s.idt.limit = 0x40 * 8 - 1;
	put_gdt(t, 0x40, T_TSS2, 0x67, 0x89);
	memset(t->g->ram + T_TSS2, 0, 0x68);
	poke64(t->g, T_TSS2 + 0x20, 0x4321 | 2ULL << 32); /* EIP, EFLAGS */
	poke64(t->g, T_TSS2 + 0x28, 0xaaaa);		  /* EAX */
	poke64(t->g, T_TSS2 + 0x38, 0x32000);		  /* ESP */
	for (unsigned i = 0; i < SEG_COUNT; i++)
		t->g->ram[T_TSS2 + 0x48 + 4 * i] = i == SEG_CS ? G_CS32 : i < 4 ? G_DS : 0;
}

static void calling_a_task_saves_this_one_and_iret_returns(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn call = {.op = OP_CALL_FAR, .opsize = 4, .form = FORM_FAR, .disp = 0x40};
	struct insn iret = {.op = OP_IRET, .opsize = 4};

	make_task(t);
	c->s.rip = 0x777;
	c->s.gpr[GPR_RAX] = 0x1111;
	PASSES(t, op_call_far(c, &call));
	assert_int_equal(c->s.tr.sel, 0x40);
	assert_int_equal(c->s.tr.attr & ATTR_TYPE, TYPE_TSS32_BUSY);
	assert_int_equal(c->s.rip, 0x4321);
	assert_int_equal(c->s.gpr[GPR_RAX], 0xaaaa);
	assert_int_equal(c->s.gpr[GPR_RSP], 0x32000);
	assert_int_equal(c->s.rflags, FL_RES1 | FL_NT);
	assert_true(c->s.cr0 & CR0_TS);
	assert_int_equal(peek64(t->g, T_TSS2) & 0xffff, G_TR); /* back link */
	assert_int_equal(peek32(t, G_TSS + 0x20), 0x777);
	assert_int_equal(peek32(t, G_TSS + 0x28), 0x1111);
	assert_int_equal(t->g->ram[G_GDT + 0x45], 0x8b);
	c->s.rip = 0x4444;
	PASSES(t, op_iret(c, &iret));
	assert_int_equal(c->s.tr.sel, G_TR);
	assert_int_equal(c->s.rip, 0x777);
	assert_int_equal(c->s.gpr[GPR_RAX], 0x1111);
	assert_int_equal(c->s.rflags, FL_RES1);
	assert_int_equal(t->g->ram[G_GDT + 0x45], 0x89);
	assert_int_equal(peek32(t, T_TSS2 + 0x20), 0x4444);
}

static void a_task_gate_takes_an_exception_with_its_error_code(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	make_task(t);
	idt32(t, 8, 0x85, 0x40, 0);
	PASSES(t, deliver_event(c, 8, false, true, 0, 0x999));
	assert_int_equal(c->s.tr.sel, 0x40);
	assert_int_equal(c->s.gpr[GPR_RSP], 0x32000 - 4);
	assert_int_equal(peek32(t, G_TSS + 0x20), 0x999);
	/* it is busy now */
	RAISES(t, EXC_GP, 0x41, deliver_event(c, 8, false, true, 0, 0x999));
}

static void a_bad_segment_of_the_new_task_faults_in_the_new_task(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn jmp = {.op = OP_JMP_FAR, .opsize = 4, .form = FORM_FAR, .disp = 0x40};

	make_task(t);
	t->g->ram[T_TSS2 + 0x48 + 4 * SEG_DS] = G_CS32 | 0x80;
	RAISES(t, EXC_TS, G_CS32 | 0x80, op_jmp_far(c, &jmp));
	assert_int_equal(c->s.tr.sel, 0x40);
	assert_int_equal(c->s.rip, 0x4321);
	make_task(t);
	put_gdt(t, 0x40, T_TSS2, 0x66, 0x89);
	RAISES(t, EXC_TS, 0x40, op_jmp_far(c, &jmp)); /* too short: still in the old task */
	assert_int_equal(c->s.tr.sel, G_TR);
	make_task(t);
	put_gdt(t, 0x40, T_TSS2, 0x67, 0x09);
	RAISES(t, EXC_NP, 0x40, op_jmp_far(c, &jmp));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(data_segments_are_loaded_with_their_cache),
		TEST(bad_data_selectors_fault_in_the_order_of_the_manual),
		TEST(ss_takes_only_writable_data_of_its_privilege),
		TEST(a_null_ss_is_for_64_bit_code_below_privilege_3),
		TEST(the_ldt_is_searched_for_selectors_with_ti),
		TEST(limits_and_types_are_checked_by_every_access),
		TEST(real_mode_keeps_limits_and_vm86_does_not),
		TEST(a_base_from_compatibility_mode_comes_back_unless_replaced),
		TEST(lar_and_lsl_see_what_the_privilege_sees),
		TEST(far_jumps_check_privilege_presence_and_limit),
		TEST(a_call_gate_copies_parameters_to_the_inner_stack_and_ret_releases_them),
		TEST(a_long_mode_call_gate_has_sixteen_bytes),
		TEST(calling_a_task_saves_this_one_and_iret_returns),
		TEST(a_task_gate_takes_an_exception_with_its_error_code),
		TEST(a_bad_segment_of_the_new_task_faults_in_the_new_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
