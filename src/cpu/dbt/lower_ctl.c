/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower_ctl.c - branches, calls of C, and what lies out of line behind a block.
 *
 * A direct jump within the page is one host jump, patched once its target is translated:
 * to the entry that takes flags in the host's register, and where it leads backwards to
 * the one that looks for requests.  A jump to another page first checks that the target
 * page is still what it was (its xid).  Indirect jumps look into the vCPU's jump table.
 * Behind a call is where its RET comes back (dbt.h), with the guest's address to compare.
 */
#include "cpu/dbt/lower.h"

_Static_assert(sizeof(struct jump_entry) == 1 << JUMP_ENTRY_SHIFT, "slots are found by scaling");

static uint32_t offset_of(const struct lowering *l, const uint8_t *p)
{
	return (uint32_t)(p - l->d->rw);
}

/*
 * A NOP, if a rel32 behind @before bytes of opcode would not lie in one aligned quadword, whose
 * bytes can be modified at once (APM vol. 2, 7.6.1).
 */
static void align_rel32(struct lowering *l, unsigned before)
{
	unsigned at = (offset_of(l, l->a.p) + before) & 7;

	if (at > 4)
		a_nop(&l->a, 8 - at);
}

/* --- direct jumps ----------------------------------------------------------------------- */

static struct dbt_link *link_new(struct lowering *l, uint64_t target)
{
	struct dbt_link *k = dbt_alloc(l->d, sizeof(*k));

	if (!k) {
		l->failed = true;
		return NULL;
	}
	*k = (struct dbt_link){
		.from = l->b, .next_out = l->b->out, .target = target, .number = l->nlinks};
	l->b->out = k;
	if (++l->nlinks == LINK_MAX)
		l->failed = true;
	return k;
}

static bool same_page(const struct lowering *l, uint64_t target)
{
	return !((l->b->rip ^ target) >> 12);
}

static size_t xid_offset(const struct lowering *l, uint64_t target)
{
	return VC(tlb_xid) + l->view * sizeof(((struct vcpu *)0)->tlb_xid[0]) +
	       (target >> 12 & (TLB_SIZE - 1)) * sizeof(uint32_t);
}

static uint8_t *emit_goto(struct lowering *l, bool call)
{
	align_rel32(l, 1);
	return call ? a_call(&l->a) : a_jmp(&l->a);
}

/* The guarded jump to another page.  Flags are at home. */
static void emit_guarded(struct lowering *l, struct dbt_link *k, bool call)
{
	struct assembler *a = &l->a;
	struct cold_jump *j;
	struct host_op xid = op_vcpu(xid_offset(l, k->target));

	if (k->target < l->b->rip) { /* what loops must look for requests */
		a_op(a, false, 0x83, ALU_CMP, op_vcpu(VC(d.gen_live)));
		a1(a, 0);
		cold_new(l, COLD_POLL, a_jcc(a, CC_E))->link = k;
	}
	/* gs 81 /7 modrm sib disp32: 8 bytes before the imm32 */
	align_rel32(l, 8);
	a_op(a, false, 0x81, ALU_CMP, xid);
	reloc_note(l, RELOC_XID);
	k->guard = offset_of(l, a->p);
	a4(a, (uint32_t)DBT_LINK_NEVER);
	j = cold_new(l, COLD_LINK, a_jcc(a, CC_NE));
	j->link = k;
	k->jump = offset_of(l, emit_goto(l, call));
}

/* Go to @target unconditionally, or call it. */
static void emit_jump(struct lowering *l, uint64_t target, bool call)
{
	struct dbt_link *k = link_new(l, target);
	struct cold_jump *j;
	uint8_t *at;

	if (!k)
		return;
	if (!same_page(l, target)) {
		flags_to_home(l);
		emit_guarded(l, k, call);
		return;
	}
	k->poll = target <= l->t->rip;
	if (k->poll || !l->home)
		flags_to_host(l);
	k->flags_host = l->host;
	at = emit_goto(l, call);
	k->jump = offset_of(l, at);
	j = cold_new(l, COLD_LINK, at);
	j->link = k;
}

/* Jcc; the block goes on where it is not taken. */
static void emit_jcc(struct lowering *l, unsigned cc, uint64_t target)
{
	struct dbt_link *k = link_new(l, target);
	struct cold_jump *j;
	uint8_t *at;

	if (!k)
		return;
	flags_to_host(l);
	k->flags_host = true;
	k->poll = target <= l->t->rip;
	align_rel32(l, 2);
	at = a_jcc(&l->a, cc);
	k->jump = offset_of(l, at);
	j = cold_new(l, COLD_LINK, at);
	j->link = k;
	j->pop = l->home; /* another page: the way out of line saves flags first */
	if (l->d->count)
		j->ahead = (uint8_t)(count_ahead(l) - 1);
}

/* JRCXZ and LOOP: flags are neither read nor written. */
static void emit_by_count(struct lowering *l, const struct insn *i, uint64_t target)
{
	struct assembler *a = &l->a;
	bool w = i->adsize == 8, loop = i->op == OP_LOOP;
	uint8_t *over;

	if (!same_page(l, target))
		flags_to_home(l);
	else
		flags_to_host(l); /* both ways leave with the same state */
	if (loop)
		a_lea(a, w, host_of[GPR_RCX], op_mem(host_of[GPR_RCX], -1));
	a_op(a, w, 0x89, host_of[GPR_RCX], op_reg(H_RCX));
	/* JRCXZ rel8: to the jump of JRCXZ, or over that of LOOP */
	a1(a, 0xe3);
	over = a->p;
	a1(a, 0);
	if (!loop) {
		uint8_t *skip;

		a1(a, 0xeb);
		skip = a->p;
		a1(a, 0);
		*over = (uint8_t)(a->p - (over + 1));
		over = skip;
	}
	emit_jump(l, target, false);
	*over = (uint8_t)(a->p - (over + 1));
}

/* --- indirect jumps ----------------------------------------------------------------------- */

static struct host_op jump_field(size_t field)
{
	return op_vcpu_index(VC(d.jumps) + field, H_RCX, 0);
}

void emit_jump_lookup(struct assembler *a, uint8_t *miss[2])
{
	a_op(a, false, 0x69, H_RCX, op_reg(H_RAX)); /* jump_slot(), times an entry's size */
	a4(a, JUMP_HASH);
	a_alu_imm(a, false, ALU_AND, op_reg(H_RCX), (JUMP_ENTRIES - 1) << JUMP_ENTRY_SHIFT);
	a_op(a, true, 0x3b, H_RAX, jump_field(offsetof(struct jump_entry, rip)));
	miss[0] = a_jcc(a, CC_NE);
	a_load32(a, H_RAX, jump_field(offsetof(struct jump_entry, gen)));
	a_op(a, false, 0x3b, H_RAX, op_vcpu(VC(d.gen_live)));
	miss[1] = a_jcc(a, CC_NE);
	a_load32(a, H_RAX, jump_field(offsetof(struct jump_entry, code)));
	a_op(a, true, 0x03, H_RAX, op_vcpu(VC(d.code_base)));
}

uint8_t *emit_jump_missed(struct dbt *d, struct assembler *a, uint8_t *miss[2], int32_t pop)
{
	uint8_t *bad;

	a_patch(miss[1], a->p);
	a_load(a, H_RAX, jump_field(offsetof(struct jump_entry, rip))); /* was the same */
	a_patch(miss[0], a->p);
	a_mov(a, H_RCX, H_RAX);
	a_shift_imm(a, true, 4, H_RCX, 16);
	a_shift_imm(a, true, 7, H_RCX, 16);
	a_op(a, true, 0x39, H_RAX, op_reg(H_RCX));
	bad = a_jcc(a, CC_NE);
	a_store(a, H_RAX, op_vcpu(VC(s.rip)));
	if (pop)
		a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], pop));
	a_jmp_to(a, d->rw + d->lookup_exit);
	return bad;
}

/* To the guest address in RAX, or call it; @pop is added to RSP.  Flags are at home. */
static void emit_indirect(struct lowering *l, int32_t pop, bool call)
{
	struct assembler *a = &l->a;
	struct cold_jump *j;
	uint8_t *miss[2];

	emit_jump_lookup(a, miss);
	j = cold_new(l, COLD_MISS, miss[0]);
	j->back = miss[1];
	j->pop = pop;
	site_new(l, &j->site)->access = 0xff;
	if (pop)
		a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], pop));
	a1(a, 0xff); /* call rax; jmp rax */
	a1(a, call ? 0xd0 : 0xe0);
}

/* Behind a CALL: the RET to @next comes back here, its address in RAX, its stack not popped. */
static void emit_return_point(struct lowering *l, uint64_t next)
{
	struct assembler *a = &l->a;
	struct dbt_link *k = link_new(l, next);

	if (!k)
		return;
	if ((int64_t)next == (int32_t)next) {
		a_alu_imm(a, true, ALU_CMP, op_reg(H_RAX), (int32_t)next);
	} else {
		emit_mov_rip(l, H_RCX, next);
		a_op(a, true, 0x39, H_RCX, op_reg(H_RAX));
	}
	emit_to_glue(l, a_jcc(a, CC_NE), l->d->ret_miss);
	a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], 8));
	l->home = true;
	l->host = false;
	if (same_page(l, next)) {
		struct cold_jump *j;

		k->jump = offset_of(l, emit_goto(l, false));
		j = cold_new(l, COLD_LINK, l->d->rw + k->jump);
		j->link = k;
	} else {
		emit_guarded(l, k, false);
	}
}

/* One call deeper: the shadow stack starts anew when it is full. */
static void emit_shadow_check(struct lowering *l)
{
	flags_clobber(l);
	a_op(&l->a, true, 0x3b, H_RSP, op_vcpu(VC(d.shadow_limit)));
	cold_new(l, COLD_SHADOW, a_jcc(&l->a, CC_B));
}

static void emit_ret(struct lowering *l, const struct insn *i)
{
	struct host_op from = op_vcpu(VC(d.tmp));
	uint32_t site;

	flags_to_home(l);
	if (!l->ret_read)
		from = emit_stack(l, false);
	a_load(&l->a, H_RAX, from);
	if (i->imm) {
		emit_indirect(l, (int32_t)(8 + i->imm), false);
		return;
	}
	site_new(l, &site)->access = 0xff;
	a_op(&l->a, false, 0xc7, 0, op_vcpu(VC(d.site)));
	a4(&l->a, site);
	reloc_note(l, RELOC_SITE);
	a1(&l->a, 0xc3);
}

/* Store the return address below the stack; RSP moves when nothing can fail any more. */
static void emit_return_address(struct lowering *l, uint64_t next)
{
	struct assembler *a = &l->a;
	struct host_op to = emit_stack(l, true);

	if ((int64_t)next == (int32_t)next) {
		a_op(a, true, 0xc7, 0, to);
		a4(a, (uint32_t)next);
	} else {
		emit_mov_rip(l, H_RAX, next);
		a_store(a, H_RAX, to);
	}
}

static void emit_target(struct lowering *l, const struct insn *i)
{
	flags_to_home(l);
	l->host = false;
	if (!(i->flags & INSN_MEM)) {
		a_mov(&l->a, H_RAX, reg_read(l, i->rm, H_RAX));
		return;
	}
	a_load(&l->a, H_RAX, emit_operand(l, i, false));
}

/* Before anything is stored: leave for the interpreter if RAX is no canonical address. */
static void emit_canonical_check(struct lowering *l)
{
	struct cold_jump *j;

	a_mov(&l->a, H_RCX, H_RAX);
	a_shift_imm(&l->a, true, 7, H_RCX, 47);
	a_alu_imm(&l->a, false, ALU_ADD, op_reg(H_RCX), 1);
	a_alu_imm(&l->a, false, ALU_CMP, op_reg(H_RCX), 1);
	j = cold_new(l, COLD_STEP, a_jcc(&l->a, CC_A));
	site_new(l, &j->site)->access = 0xff;
}

static void emit_call_indirect(struct lowering *l, const struct insn *i, uint64_t next)
{
	emit_target(l, i);
	emit_canonical_check(l);
	a_store(&l->a, H_RAX, op_vcpu(VC(d.tmp)));
	emit_return_address(l, next);
	emit_shadow_check(l);
	a_load(&l->a, H_RAX, op_vcpu(VC(d.tmp)));
	emit_indirect(l, -8, true);
	emit_return_point(l, next);
}

static void emit_call(struct lowering *l, uint64_t target, uint64_t next)
{
	if (!same_page(l, target))
		flags_to_home(l); /* the guard needs it so, and the access check, too */
	emit_return_address(l, next);
	emit_shadow_check(l);
	a_lea(&l->a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], -8));
	emit_jump(l, target, true);
	emit_return_point(l, next);
}

/* --- dispatch ------------------------------------------------------------------------------ */

bool is_native_branch(const struct insn *i)
{
	if (i->flags & INSN_MEM && i->adsize == 2)
		return false;
	switch (i->op) {
	case OP_JMP:
	case OP_JCC:
	case OP_CALL:
	case OP_RET:
	case OP_JMP_RM:
	case OP_CALL_RM: return i->opsize == 8;
	case OP_LOOP:
	case OP_JCXZ: return i->opsize == 8 && i->adsize >= 4;
	default: return false;
	}
}

bool lower_branch(struct lowering *l, const struct insn *i)
{
	uint64_t next = l->t->rip + i->len, target = next + i->imm;

	switch (i->op) {
	case OP_JCC: emit_jcc(l, i->cc, target); return false;
	case OP_LOOP:
	case OP_JCXZ:
		emit_by_count(l, i, target);
		emit_jump(l, next, false);
		return true;
	case OP_JMP: emit_jump(l, target, false); return true;
	case OP_CALL: emit_call(l, target, next); return true;
	case OP_RET: emit_ret(l, i); return true;
	case OP_JMP_RM:
		emit_target(l, i);
		emit_indirect(l, 0, false);
		return true;
	default: emit_call_indirect(l, i, next); return true;
	}
}

void lower_end(struct lowering *l, uint64_t next_rip)
{
	emit_jump(l, next_rip, false);
}

/* The block's instruction goes on in the next page, which must be what it was. */
void lower_guard(struct lowering *l)
{
	struct assembler *a = &l->a;
	struct cold_jump *j;

	l->host = false;
	a_op(a, false, 0x81, ALU_CMP, op_vcpu(xid_offset(l, l->b->rip + MEM_PAGE_SIZE)));
	a4(a, l->b->xid2);
	j = cold_new(l, COLD_STEP, a_jcc(a, CC_NE));
	site_new(l, &j->site)->access = 0xff;
}

static void emit_site_call(struct lowering *l, uint32_t site, uint32_t glue)
{
	a_mov_imm(&l->a, H_RCX, site);
	reloc_note(l, RELOC_SITE);
	emit_to_glue(l, a_jmp(&l->a), glue);
}

/* The instruction's own handler, in C. */
void lower_helper(struct lowering *l, const struct insn *i, bool ends)
{
	struct insn *copy = dbt_alloc(l->d, sizeof(*copy));
	struct dbt_site *s;
	uint32_t number;

	flags_to_home(l);
	if (!copy) {
		l->failed = true;
		return;
	}
	*copy = *i;
	s = site_new(l, &number);
	s->insn = copy;
	s->ends = ends;
	emit_site_call(l, number, l->d->helper);
	s->next = offset_of(l, l->a.p);
	l->host = false;
	l->vec_known = false;
	x87_forget(l);
}

/* --- out of line ----------------------------------------------------------------------------- */

/* Leave for the target of @k, to be linked. */
static void emit_link_exit(struct lowering *l, struct dbt_link *k)
{
	struct assembler *a = &l->a;

	k->unlinked = offset_of(l, a->p);
	emit_mov_link(l, H_RCX, k);
	emit_to_glue(l, a_jmp(a), k->flags_host ? l->d->link_exit_flags : l->d->link_exit);
}

static void emit_unlinked(struct lowering *l, struct cold_jump *j)
{
	struct dbt_link *k = j->link;

	if (!k->guard && !same_page(l, k->target)) { /* Jcc to another page */
		a_patch(j->jump, l->a.p);
		if (!j->pop)
			emit_flags_save(&l->a);
		emit_count_back(l, j->ahead, true);
		k->flags_host = k->poll = false;
		emit_guarded(l, k, false); /* its way out comes behind: the list grows */
		return;
	}
	if (j->ahead) {
		a_patch(j->jump, l->a.p);
		emit_count_back(l, j->ahead, false);
		j->jump = emit_goto(l, false);
		k->jump = offset_of(l, j->jump);
	}
	a_patch(j->jump, l->a.p);
	if (k->guard)
		a_patch(l->d->rw + k->jump, l->a.p);
	emit_link_exit(l, k);
}

/* If the group crosses a page, or may not write yet, its block has to go on without groups. */
static void emit_crossing(struct lowering *l, const struct cold_access *c)
{
	struct assembler *a = &l->a;
	int32_t first = (int32_t)(c->fold->lo - c->fold->first->fold_off);
	struct dbt_link *k = link_new(l, c->rip);
	uint8_t *within = NULL;

	if (!k)
		return;
	if (!c->fold->early) {
		emit_address(l, H_RAX, &c->ea, first);
		a_lea(a, true, H_RCX, op_mem(H_RAX, (int32_t)(c->fold->hi - c->fold->lo - 1)));
		a_op(a, true, 0x31, H_RCX, op_reg(H_RAX));
		a_shift_imm(a, true, 5, H_RAX, 12);
		within = a_jcc(a, CC_E);
	}
	emit_recipe_home(l, &l->d->sites[c->site].flags);
	if (l->d->sites[c->site].x87)
		x87_store_pointers(l, l->d->sites[c->site].x87);
	emit_count_back(l, l->d->sites[c->site].ahead, true);
	k->plain = true;
	k->jump = offset_of(l, emit_goto(l, false));
	a_patch(l->d->rw + k->jump, a->p);
	emit_link_exit(l, k);
	if (within)
		a_patch(within, a->p);
}

/* Not in the jump table: a bad address faults at the branch, with nothing done. */
static void emit_miss(struct lowering *l, struct cold_jump *j)
{
	uint8_t *miss[2] = {j->jump, j->back};
	uint8_t *bad = emit_jump_missed(l->d, &l->a, miss, j->pop);

	reloc_note(l, RELOC_GLUE);
	a_patch(bad, l->a.p);
	emit_site_call(l, j->site, l->d->slow);
}

void emit_cold(struct lowering *l)
{
	for (unsigned n = 0; n < l->naccess && !l->failed; n++) {
		struct cold_access *c = &l->access[n];

		a_patch(c->jump, l->a.p);
		if (c->fold)
			emit_crossing(l, c);
		if (c->fold && c->fold->early)
			continue;
		emit_address(l, H_RAX, &c->ea, 0);
		emit_site_call(l, c->site, l->d->slow);
	}
	for (unsigned n = 0; n < l->njump && !l->failed; n++) {
		struct cold_jump *j = &l->jump[n];

		switch (j->kind) {
		case COLD_LINK: emit_unlinked(l, j); break;
		case COLD_MISS: emit_miss(l, j); break;
		case COLD_POLL:
			a_patch(j->jump, l->a.p);
			emit_mov_link(l, H_RCX, j->link);
			emit_to_glue(l, a_jmp(&l->a), l->d->link_exit);
			break;
		case COLD_COUNT:
			a_patch(j->jump, l->a.p);
			emit_count_back(l, j->ahead, true);
			emit_mov_block(l, H_RCX);
			emit_to_glue(l, a_jmp(&l->a), l->d->block_exit);
			break;
		case COLD_SHADOW:
			a_patch(j->jump, l->a.p);
			a_load(&l->a, H_RSP, op_vcpu(VC(d.shadow)));
			a_jmp_to(&l->a, j->back);
			break;
		case COLD_STEP:
			a_patch(j->jump, l->a.p);
			emit_site_call(l, j->site, l->d->slow);
			break;
		case COLD_VEC_LOAD:
		case COLD_X87_LOAD:
			a_patch(j->jump, l->a.p);
			emit_to_glue(l, a_call(&l->a),
				     j->kind == COLD_VEC_LOAD ? l->d->vec_load : l->d->x87_load);
			a_jmp_to(&l->a, j->back);
		}
	}
}
