/* SPDX-License-Identifier: Apache-2.0 */
/* sys_ctl_test.c - system calls, control and debug registers, MSRs, ports. */
#include "cpu/x86/sys_fixture.h"

/* --- system calls
 * ---------------------------------------------------------------------------------- */

static void syscall_and_sysret_swap_privilege_and_flags(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn i = {.opsize = 8};

	long64(t);
	set_cpl(t, 3);
	c->s.star = 0x0023000800000000;
	c->s.lstar = 0xffff800000001000;
	c->s.sfmask = FL_IF | FL_TF | FL_AC;
	c->s.rip = 0x400000;
	c->s.rflags = FL_RES1 | FL_IF | FL_AC | FL_CF;
	PASSES(t, op_syscall(c, &i));
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->s.rip, 0xffff800000001000);
	assert_int_equal(c->s.gpr[GPR_RCX], 0x400000);
	assert_int_equal(c->s.gpr[GPR_R11], FL_RES1 | FL_IF | FL_AC | FL_CF);
	assert_int_equal(c->s.rflags, FL_RES1 | FL_CF);
	assert_int_equal(c->s.seg[SEG_CS].sel, 8);
	assert_int_equal(c->s.seg[SEG_SS].sel, 16);
	PASSES(t, op_sysret(c, &i));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->s.rip, 0x400000);
	assert_int_equal(c->s.rflags, FL_RES1 | FL_IF | FL_AC | FL_CF);
	assert_int_equal(c->s.seg[SEG_CS].sel, 0x33);
	assert_int_equal(c->s.seg[SEG_SS].sel, 0x2b);
	RAISES(t, EXC_GP, 0, op_sysret(c, &i));
	c->s.efer &= ~(uint64_t)EFER_SCE;
	RAISES(t, EXC_UD, NO_ERROR, op_syscall(c, &i));
}

static void sysret_to_a_non_canonical_address_follows_the_vendor(void **state)
{
	struct t *t = *state;
	struct insn i = {.opsize = 8};

	long64(t);
	t->g->vm->soft.model.amd = false;
	t->c->s.star = 0x0023000800000000;
	t->c->s.gpr[GPR_RCX] = BIT(50);
	RAISES(t, EXC_GP, 0, op_sysret(t->c, &i));
	assert_int_equal(t->c->cpl, 0);
	t->g->vm->soft.model.amd = true;
	PASSES(t, op_sysret(t->c, &i));
	assert_int_equal(t->c->cpl, 3);
	assert_int_equal(t->c->s.rip, BIT(50));
}

static void sysenter_works_in_long_mode_on_intel_only(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn i = {.opsize = 4};

	long64(t);
	set_cpl(t, 3);
	t->g->vm->soft.model.amd = true;
	c->s.sysenter_cs = 8;
	c->s.sysenter_eip = 0xffff800000002000;
	c->s.sysenter_esp = 0xffff800000003000;
	RAISES(t, EXC_UD, NO_ERROR, op_sysenter(c, &i));
	t->g->vm->soft.model.amd = false;
	PASSES(t, op_sysenter(c, &i));
	assert_int_equal(c->s.rip, 0xffff800000002000);
	assert_int_equal(c->s.gpr[GPR_RSP], 0xffff800000003000);
	assert_int_equal(c->mode, MODE_64);
	c->s.gpr[GPR_RDX] = 0x100001000;
	c->s.gpr[GPR_RCX] = 0x2000;
	PASSES(t, op_sysexit(c, &i));
	assert_int_equal(c->s.rip, 0x1000);
	assert_int_equal(c->mode, MODE_32);
	assert_int_equal(c->cpl, 3);
	c->s.sysenter_cs = 3;
	RAISES(t, EXC_GP, 0, op_sysenter(c, &i));
}

/* --- control registers, MSRs, ports
 * -------------------------------------------------------------------- */

static void mov_cr(struct t *t, unsigned n, uint64_t v)
{
	const struct insn i = {.op = OP_MOV_CR_R, .opsize = 8, .reg = (uint8_t)n, .rm = GPR_RAX};

	t->c->s.gpr[GPR_RAX] = v;
	op_mov_cr_r(t->c, &i);
}

static void control_registers_refuse_contradictions(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	uint64_t cr0, cr4;

	long64(t);
	cr0 = c->s.cr0;
	cr4 = c->s.cr4;
	RAISES(t, EXC_GP, 0, mov_cr(t, 0, cr0 | BIT(32)));
	RAISES(t, EXC_GP, 0, mov_cr(t, 0, cr0 & ~(uint64_t)CR0_PE));
	RAISES(t, EXC_GP, 0, mov_cr(t, 0, cr0 & ~(uint64_t)CR0_PG)); /* from 64-bit code */
	RAISES(t, EXC_GP, 0, mov_cr(t, 0, cr0 | CR0_NW));
	RAISES(t, EXC_GP, 0, mov_cr(t, 4, cr4 & ~(uint64_t)CR4_PAE));
	RAISES(t, EXC_GP, 0, mov_cr(t, 4, cr4 | CR4_LA57));
	RAISES(t, EXC_GP, 0, mov_cr(t, 4, cr4 | CR4_VMXE));
	RAISES(t, EXC_GP, 0, mov_cr(t, 3, BIT(40)));
	RAISES(t, EXC_GP, 0, mov_cr(t, 3, G_PML4 | BIT(63))); /* without PCIDE */
	RAISES(t, EXC_GP, 0, mov_cr(t, 8, 16));
	RAISES(t, EXC_UD, NO_ERROR, mov_cr(t, 1, 0));
	RAISES(t, EXC_UD, NO_ERROR, mov_cr(t, 9, 0));
	assert_int_equal(c->s.cr0, cr0);
	assert_int_equal(c->s.cr4, cr4);
	c->s.cr3 |= 1;
	RAISES(t, EXC_GP, 0, mov_cr(t, 4, cr4 | CR4_PCIDE));
	c->s.cr3 &= ~1ULL;
	PASSES(t, mov_cr(t, 4, cr4 | CR4_PCIDE));
	PASSES(t, mov_cr(t, 3, G_PML4 | 5 | BIT(63)));
	assert_int_equal(c->s.cr3, G_PML4 | 5);
	set_cpl(t, 3);
	RAISES(t, EXC_GP, 0, mov_cr(t, 0, cr0));
}

static void pae_tables_with_reserved_bits_are_refused_and_nothing_changes(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	flat32(t);
	poke64(t->g, 0x9000, 0xa000 | 1);
	PASSES(t, mov_cr(t, 4, CR4_PAE));
	PASSES(t, mov_cr(t, 3, 0x9000));
	poke64(t->g, 0x9008, 0xa000 | 3); /* W is reserved in a PDPTE */
	RAISES(t, EXC_GP, 0, mov_cr(t, 0, c->s.cr0 | CR0_PG));
	assert_false(c->s.cr0 & CR0_PG);
	poke64(t->g, 0x9008, 0);
	PASSES(t, mov_cr(t, 0, c->s.cr0 | CR0_PG));
	assert_true(c->s.cr0 & CR0_PG);
	assert_int_equal(c->pdptr[0], 0xa001);
	poke64(t->g, 0x9000, 0xa000 | 0x101 | 0x20);
	RAISES(t, EXC_GP, 0, mov_cr(t, 3, 0x9000));
}

static void debug_registers_obey_de_gd_and_their_fixed_bits(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	struct insn i = {.op = OP_MOV_DR_R, .opsize = 8, .rm = GPR_RAX};

	long64(t);
#define MOV_DR(n, v) (i.reg = (n), c->s.gpr[GPR_RAX] = (v), op_mov_dr_r(c, &i))
	RAISES(t, EXC_UD, NO_ERROR, MOV_DR(4, 0)); /* CR4.DE is on */
	RAISES(t, EXC_UD, NO_ERROR, MOV_DR(8, 0));
	RAISES(t, EXC_GP, 0, MOV_DR(7, BIT(32)));
	PASSES(t, MOV_DR(6, 0xffffffff));
	assert_int_equal(c->s.dr6, 0xffffefff);
	PASSES(t, MOV_DR(7, 0xffffffff & ~0x2000));
	assert_int_equal(c->s.dr7, 0xffff07ff);
	c->s.cr4 &= ~(uint64_t)CR4_DE;
	PASSES(t, MOV_DR(5, 0x2000));
	assert_int_equal(c->s.dr7, 0x2400);
	RAISES(t, EXC_DB, NO_ERROR, MOV_DR(0, 1)); /* GD */
	assert_true(c->s.dr6 & 0x2000);
	assert_int_equal(c->s.dr[0], 0);
}

static void msrs_take_what_the_manual_allows(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	uint64_t v;

	long64(t);
	PASSES(t, msr_write(c, 0x277, 0x0007010600070106));
	RAISES(t, EXC_GP, 0, msr_write(c, 0x277, 2));
	RAISES(t, EXC_GP, 0, msr_write(c, 0xc0000082, BIT(50)));
	RAISES(t, EXC_GP, 0, msr_write(c, 0xc0000100, BIT(50)));
	RAISES(t, EXC_GP, 0, msr_write(c, 0xc0000080, 0)); /* LME while paging */
	RAISES(t, EXC_GP, 0, msr_write(c, 0xc0000080, c->s.efer | 1 << 12));
	PASSES(t, msr_write(c, 0xc0000080, EFER_LME | EFER_NXE));
	assert_int_equal(c->s.efer, EFER_LME | EFER_NXE | EFER_LMA);
	PASSES(t, msr_write(c, 0x2ff, 0xc06));
	RAISES(t, EXC_GP, 0, msr_write(c, 0x2ff, 0xc07));
	RAISES(t, EXC_GP, 0, msr_write(c, 0x250, 0x02));
	PASSES(t, msr_write(c, 0x20e, 0xc0000006));
	PASSES(t, msr_write(c, 0x20f, 0xffc0000800));
	RAISES(t, EXC_GP, 0, msr_write(c, 0x20f, BIT(40)));
	PASSES(t, msr_read(c, 0xfe, &v));
	assert_int_equal(v, 0x508);
	RAISES(t, EXC_GP, 0, msr_write(c, 0xfe, 0));
	PASSES(t, msr_read(c, 0x20f, &v));
	assert_int_equal(v, 0xffc0000800);
	PASSES(t, msr_write(c, 0xc0000101, 0xffff800000000000));
	assert_int_equal(c->s.seg[SEG_GS].base, 0xffff800000000000);
}

static void tsc_writes_move_time_and_adjust_tells(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;
	uint64_t offset, v;

	long64(t);
	offset = c->s.tsc_offset;
	PASSES(t, msr_write(c, 0x3b, 1000000));
	assert_int_equal(c->s.tsc_offset, offset + 1000000);
	PASSES(t, msr_write(c, 0x10, 0));
	PASSES(t, msr_read(c, 0x10, &v));
	assert_true(v < BIT(40));
	assert_int_equal(c->s.tsc_adjust, c->s.tsc_offset - offset);
}

static void the_io_bitmap_opens_single_ports(void **state)
{
	struct t *t = *state;
	struct vcpu *c = t->c;

	long64(t);
	set_cpl(t, 3);
	c->s.tr.limit = 0x67 + 32 + 1;
	poke64(t->g, G_TSS + 102, 0x68);
	memset(t->g->ram + G_TSS + 0x68, 0xff, 33);
	t->g->ram[G_TSS + 0x68 + 0x80 / 8] = 0xfc; /* 0x80 and 0x81 */
	PASSES(t, port_check(c, 0x80, 1));
	PASSES(t, port_check(c, 0x80, 2));
	RAISES(t, EXC_GP, 0, port_check(c, 0x81, 2));
	RAISES(t, EXC_GP, 0, port_check(c, 0x80, 4));
	RAISES(t, EXC_GP, 0, port_check(c, 0x3f8, 1)); /* beyond the TSS */
	t->c->s.tr.limit = 0x66;
	RAISES(t, EXC_GP, 0, port_check(c, 0x80, 1));
	c->s.rflags |= FL_IOPL;
	PASSES(t, port_check(c, 0x3f8, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(syscall_and_sysret_swap_privilege_and_flags),
		TEST(sysret_to_a_non_canonical_address_follows_the_vendor),
		TEST(sysenter_works_in_long_mode_on_intel_only),
		TEST(control_registers_refuse_contradictions),
		TEST(pae_tables_with_reserved_bits_are_refused_and_nothing_changes),
		TEST(debug_registers_obey_de_gd_and_their_fixed_bits),
		TEST(msrs_take_what_the_manual_allows),
		TEST(tsc_writes_move_time_and_adjust_tells),
		TEST(the_io_bitmap_opens_single_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
