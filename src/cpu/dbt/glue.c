/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glue.c - the code that all blocks share: in and out of translated code, and to C.
 *
 * Translated code runs on the stack of the C function that entered it, which is the
 * shadow stack of the guest's calls meanwhile.  Calls of C (slow, helper) come by JMP
 * with the site's number in RCX, because a CALL that does not return would put the
 * processor's predictions of returns out of step; C answers with the address to go on
 * at, or NULL to leave.
 */
#include "cpu/dbt/lower.h"

enum { SHADOW_BYTES = 8 << 10 }; /* 1024 calls deep */

static const uint8_t callee_saved[] = {H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15};

static uint32_t here(const struct dbt *d, const struct assembler *a)
{
	return (uint32_t)(a->p - d->rw);
}

static void push_pop(struct assembler *a, unsigned op, unsigned reg)
{
	if (reg & 8)
		a1(a, 0x41);
	a1(a, op | (reg & 7));
}

static void ret(struct assembler *a)
{
	a1(a, 0xc3);
}

static void guest_registers(struct assembler *a, bool store)
{
	for (unsigned g = 0; g < 16; g++) {
		if (host_of[g] == H_NONE)
			continue;
		a_op(a, true, store ? 0x89 : 0x8b, host_of[g], op_vcpu(gpr_offset(g)));
	}
}

/* JMP [resume] */
static void resume(struct assembler *a)
{
	a_op(a, false, 0xff, 4, op_vcpu(VC(d.resume)));
}

static void store_byte(struct assembler *a, size_t field, unsigned v)
{
	a_op(a, false, 0xc6, 0, op_vcpu(field));
	a1(a, v);
}

static struct host_op vector(unsigned n)
{
	return op_vcpu(VC(s.vec) + n * sizeof(struct cpu_vec));
}

enum { MOVUPS_LOAD = 0x10, MOVUPS_STORE = 0x11, ORPS = 0x56, PTEST = 0x17 };

static void vectors(struct dbt *d, struct assembler *a, unsigned op, bool whole)
{
	for (unsigned n = 0; n < 16; n++) {
		struct host_enc movups = {.map = 1, .op = (uint8_t)op};

		if (d->host_avx)
			a_vex(a, 1, 0, false, whole, 0, op, n, vector(n));
		else
			a_enc(a, &movups, n, vector(n));
	}
}

/*
 * Upper halves that are zero are loaded as such.  The processor then knows, and SSE instructions
 * need not wait for the register's old value to keep its upper half: a loop of theirs is up to
 * four times faster (AMD Software Optimization Guide, "Mixing AVX and SSE").
 */
static void emit_vectors_load(struct dbt *d, struct assembler *a)
{
	uint8_t *whole, *loaded;

	if (!d->host_avx) {
		vectors(d, a, MOVUPS_LOAD, false);
		return;
	}
	for (unsigned n = 0; n < 16; n++) {
		struct host_op upper = vector(n);

		upper.disp += 16;
		a_vex(a, 1, 0, false, false, 0, n ? ORPS : MOVUPS_LOAD, 0, upper);
	}
	a_vex(a, 2, 1, false, false, 0, PTEST, 0, op_reg(0));
	whole = a_jcc(a, CC_NE);
	vectors(d, a, MOVUPS_LOAD, false);
	loaded = a_jmp(a);
	a_patch(whole, a->p);
	vectors(d, a, MOVUPS_LOAD, true);
	a_patch(loaded, a->p);
}

static void mxcsr(struct assembler *a, bool store, size_t field)
{
	struct host_enc e = {.map = 1, .op = 0xae};

	a_enc(a, &e, store ? 3 : 2, op_vcpu(field));
}

static void emit_vec_save(struct dbt *d, struct assembler *a)
{
	vectors(d, a, MOVUPS_STORE, true);
	mxcsr(a, true, VC(s.fx.mxcsr));
	mxcsr(a, false, VC(d.host_mxcsr));
	store_byte(a, VC(d.vec_live), 0);
	if (d->host_avx) { /* vzeroupper */
		a1(a, 0xc5);
		a1(a, 0xf8);
		a1(a, 0x77);
	}
	ret(a);
}

static void emit_vec_load(struct dbt *d, struct assembler *a)
{
	d->vec_load = here(d, a);
	emit_vectors_load(d, a);
	mxcsr(a, false, VC(s.fx.mxcsr));
	store_byte(a, VC(d.vec_live), 1);
	ret(a);
}

/* All but the pointers, by way of XMM0. */
static void x87_copy(struct assembler *a, size_t to, size_t from)
{
	struct host_enc load = {.map = 1, .op = 0x10}, store = {.map = 1, .op = 0x11},
			movzx = {.map = 1, .op = 0xb6};

	a_load32(a, H_RAX, op_vcpu(from + offsetof(struct cpu_fxsave, fcw)));
	a_store32(a, H_RAX, op_vcpu(to + offsetof(struct cpu_fxsave, fcw)));
	a_enc(a, &movzx, H_RAX, op_vcpu(from + offsetof(struct cpu_fxsave, ftw)));
	a_op(a, false, 0x88, H_RAX, op_vcpu(to + offsetof(struct cpu_fxsave, ftw)));
	for (unsigned n = 0; n < 8; n++) {
		size_t st = offsetof(struct cpu_fxsave, st) + 16 * n;

		a_enc(a, &load, 0, op_vcpu(from + st));
		a_enc(a, &store, 0, op_vcpu(to + st));
	}
}

static void fxsave(struct assembler *a, bool store)
{
	struct host_enc e = {.map = 1, .op = 0xae, .w = true};

	a_enc(a, &e, store ? 0 : 1, op_vcpu(VC(d.x87_image)));
}

/* FXSAVE takes the vectors along, which are nobody's here.  FNINIT is for C code. */
static void emit_x87_save(struct dbt *d, struct assembler *a)
{
	d->x87_save = here(d, a);
	fxsave(a, true);
	a1(a, 0xdb);
	a1(a, 0xe3);
	x87_copy(a, VC(s.fx), VC(d.x87_image));
	store_byte(a, VC(d.x87_live), 0);
	ret(a);
}

/* ... and FXRSTOR gets them back as they are; it leaves their upper halves alone. */
static void emit_x87_load(struct dbt *d, struct assembler *a)
{
	struct host_enc movups = {.map = 1, .op = 0x11};

	d->x87_load = here(d, a);
	for (unsigned n = 0; n < 16; n++)
		a_enc(a, &movups, n,
		      op_vcpu(VC(d.x87_image) + offsetof(struct cpu_fxsave, xmm) + 16 * n));
	mxcsr(a, true, VC(d.x87_image) + offsetof(struct cpu_fxsave, mxcsr));
	x87_copy(a, VC(d.x87_image), VC(s.fx));
	fxsave(a, false);
	store_byte(a, VC(d.x87_live), 1);
	ret(a);
}

/* CMP [@live], 0; JE over; CALL save; over: */
static void save_if(struct dbt *d, struct assembler *a, size_t live, uint32_t save)
{
	uint8_t *over, *call;

	a_op(a, false, 0x80, ALU_CMP, op_vcpu(live));
	a1(a, 0);
	over = a_jcc(a, CC_E);
	call = a_call(a);
	a_patch(call, d->rw + save);
	a_patch(over, a->p);
}

static void save_if_live(struct dbt *d, struct assembler *a, uint32_t save)
{
	save_if(d, a, VC(d.vec_live), save);
}

/* void enter(void *code) */
static void emit_enter(struct dbt *d, struct assembler *a)
{
	d->enter = here(d, a);
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		push_pop(a, 0x50, callee_saved[n]);
	a_alu_imm(a, true, ALU_SUB, op_reg(H_RSP), 8);
	a_store(a, H_RSP, op_vcpu(VC(d.stack)));
	a_store(a, H_RDI, op_vcpu(VC(d.resume)));
	a_mov_imm(a, H_RAX, (uintptr_t)(d->rx + d->ret_empty));
	push_pop(a, 0x50, H_RAX);
	a_store(a, H_RSP, op_vcpu(VC(d.shadow)));
	a_lea(a, true, H_RAX, op_mem(H_RSP, -SHADOW_BYTES));
	a_store(a, H_RAX, op_vcpu(VC(d.shadow_limit)));
	emit_count_load(d, a);
	guest_registers(a, false);
	resume(a);
}

static void emit_leave(struct dbt *d, struct assembler *a, uint32_t save)
{
	uint8_t *leave[2];

	d->poll_exit = here(d, a);
	emit_flags_save(a);
	d->block_exit = here(d, a);
	a_store32(a, H_RCX, op_vcpu(VC(d.link)));
	store_byte(a, VC(d.exit), DBT_EXIT_POLL);
	leave[0] = a_jmp(a);
	d->link_exit_flags = here(d, a);
	emit_flags_save(a);
	d->link_exit = here(d, a);
	a_store32(a, H_RCX, op_vcpu(VC(d.link)));
	store_byte(a, VC(d.exit), DBT_EXIT_LINK);
	leave[1] = a_jmp(a);
	d->lookup_exit = here(d, a);
	store_byte(a, VC(d.exit), DBT_EXIT_LOOKUP);
	a_patch(leave[0], a->p);
	a_patch(leave[1], a->p);
	emit_count_store(d, a);
	guest_registers(a, true);
	save_if_live(d, a, save);
	d->leave_saved = here(d, a);
	save_if(d, a, VC(d.x87_live), d->x87_save);
	a_load(a, H_RSP, op_vcpu(VC(d.stack)));
	a_alu_imm(a, true, ALU_ADD, op_reg(H_RSP), 8);
	for (unsigned n = ARRAY_SIZE(callee_saved); n-- > 0;)
		push_pop(a, 0x58, callee_saved[n]);
	ret(a);
}

static void emit_c_call(struct dbt *d, struct assembler *a, void *(*fn)(struct vcpu *))
{
	uint8_t *stay;

	emit_count_store(d, a);
	a_store(a, H_RSP, op_vcpu(VC(d.sp)));
	a_alu_imm(a, true, ALU_AND, op_reg(H_RSP), -16);
	a_load(a, H_RDI, op_vcpu(VC(d.self)));
	a_mov_imm(a, H_RAX, (uintptr_t)fn);
	a1(a, 0xff); /* call rax */
	a1(a, 0xd0);
	a_op(a, true, 0x85, H_RAX, op_reg(H_RAX));
	stay = a_jcc(a, CC_NE);
	a_jmp_to(a, d->rw + d->leave_saved);
	a_patch(stay, a->p);
	emit_count_load(d, a);
	a_load(a, H_RSP, op_vcpu(VC(d.sp)));
	a_store(a, H_RAX, op_vcpu(VC(d.resume)));
}

/* RCX: the site; RAX: linear address of the access. */
static void emit_slow(struct dbt *d, struct assembler *a, uint32_t save)
{
	struct host_enc movzx = {.map = 1, .op = 0xb6};
	uint8_t *over, *call;

	d->slow = here(d, a);
	a_store(a, H_RAX, op_vcpu(VC(d.lin)));
	a_store32(a, H_RCX, op_vcpu(VC(d.site)));
	d->slow_site = here(d, a); /* d.site is known */
	guest_registers(a, true);
	a_enc(a, &movzx, H_RAX, op_vcpu(VC(d.vec_live)));
	a_op(a, false, 0x88, H_RAX, op_vcpu(VC(d.vec_was)));
	save_if_live(d, a, save);
	emit_c_call(d, a, dbt_slow);
	a_op(a, false, 0x80, ALU_CMP, op_vcpu(VC(d.vec_was)));
	a1(a, 0);
	over = a_jcc(a, CC_E);
	call = a_call(a);
	a_patch(call, d->rw + d->vec_load);
	a_patch(over, a->p);
	guest_registers(a, false);
	resume(a);
}

static void emit_helper(struct dbt *d, struct assembler *a, uint32_t save)
{
	d->helper = here(d, a);
	a_store32(a, H_RCX, op_vcpu(VC(d.site)));
	guest_registers(a, true);
	save_if_live(d, a, save);
	save_if(d, a, VC(d.x87_live), d->x87_save);
	emit_c_call(d, a, dbt_helper);
	guest_registers(a, false);
	resume(a);
}

/*
 * A return that the shadow stack did not foresee, to the address in RAX; the guest's stack is as
 * before.  A bad address faults at the RET, d.site.
 */
static void emit_ret_miss(struct dbt *d, struct assembler *a)
{
	uint8_t *miss[2], *bad;

	d->ret_empty = here(d, a);
	a_lea(a, true, H_RSP, op_mem(H_RSP, -8));
	d->ret_miss = here(d, a);
	emit_jump_lookup(a, miss);
	a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], 8));
	a1(a, 0xff); /* jmp rax */
	a1(a, 0xe0);
	bad = emit_jump_missed(d, a, miss, 8);
	a_patch(bad, d->rw + d->slow_site);
}

void dbt_emit_glue(struct dbt *d)
{
	struct assembler a = {.p = d->rw + d->used};
	uint32_t save = here(d, &a);

	emit_vec_save(d, &a);
	emit_vec_load(d, &a);
	emit_x87_save(d, &a);
	emit_x87_load(d, &a);
	emit_leave(d, &a, save);
	emit_slow(d, &a, save);
	emit_helper(d, &a, save);
	emit_ret_miss(d, &a);
	emit_enter(d, &a);
	d->used = ALIGN_UP(here(d, &a), 64);
}
