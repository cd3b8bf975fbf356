/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower.c - flags, sites and registers of code being translated.
 *
 * Flags are the host's for as long as nothing destroys them; what does so asks
 * flags_clobber(), which saves them only if no recipe can compute them again.
 */
#include "cpu/dbt/lower.h"

/* RAX, RCX and RSP of the guest live where their hosts are not; R9 to R11 in memory. */
const uint8_t host_of[16] = {
	[GPR_RAX] = H_R9,  [GPR_RCX] = H_R10, [GPR_RDX] = H_RDX,  [GPR_RBX] = H_RBX,
	[GPR_RSP] = H_R11, [GPR_RBP] = H_RBP, [GPR_RSI] = H_RSI,  [GPR_RDI] = H_RDI,
	[GPR_R8] = H_R8,   [GPR_R9] = H_NONE, [GPR_R10] = H_NONE, [GPR_R11] = H_NONE,
	[GPR_R12] = H_R12, [GPR_R13] = H_R13, [GPR_R14] = H_R14,  [GPR_R15] = H_R15,
};

/* --- flags ---------------------------------------------------------------------------- */

void emit_flags_save(struct assembler *a)
{
	struct host_enc st = {.op = 0x89, .p66 = true};

	a1(a, 0x9f); /* lahf; seto al; mov [flags], ax */
	a1(a, 0x0f);
	a1(a, 0x90);
	a1(a, 0xc0);
	a_enc(a, &st, H_RAX, op_vcpu(VC(d.flags)));
}

/* MOVZX EAX, [flags]; ADD AL, 127; SAHF */
static void emit_flags_load(struct lowering *l)
{
	struct host_enc ld = {.map = 1, .op = 0xb7};

	a_enc(&l->a, &ld, H_RAX, op_vcpu(VC(d.flags)));
	a1(&l->a, 0x04);
	a1(&l->a, 0x7f);
	a1(&l->a, 0x9e);
}

static struct host_enc sized(unsigned op, unsigned size)
{
	return (struct host_enc){
		.op = (uint8_t)op, .p66 = size == 2, .w = size == 8, .rex = size == 1};
}

/* ALU operation @alu of @size: @reg with the recipe's b. */
static void emit_alu_b(struct lowering *l, unsigned alu, unsigned size, unsigned reg,
		       const struct flags_recipe *r)
{
	struct host_enc e;

	if (r->b != INSN_NOREG) {
		e = sized(alu * 8 + (size != 1), size);
		a_enc(&l->a, &e, host_of[r->b], op_reg(reg));
		return;
	}
	e = sized(size == 1 ? 0x80 : 0x81, size);
	a_enc(&l->a, &e, alu, op_reg(reg));
	a_imm(&l->a, (uint64_t)(int64_t)r->imm, MIN(size, 4u));
}

static void emit_test(struct lowering *l, unsigned size, unsigned a, unsigned b)
{
	struct host_enc e = sized(size == 1 ? 0x84 : 0x85, size);

	a_enc(&l->a, &e, b, op_reg(a));
}

static void emit_recipe(struct lowering *l, const struct flags_recipe *r)
{
	unsigned a = host_of[r->a], size = r->size;
	struct host_enc e;

	switch (r->kind) {
	case FLAGS_CMP: emit_alu_b(l, ALU_CMP, size, a, r); break;
	case FLAGS_SUB:
		a_mov(&l->a, H_RAX, a);
		emit_alu_b(l, ALU_ADD, size, H_RAX, r);
		emit_alu_b(l, ALU_SUB, size, H_RAX, r);
		break;
	case FLAGS_ADD:
		a_mov(&l->a, H_RAX, a);
		emit_alu_b(l, ALU_SUB, size, H_RAX, r);
		emit_alu_b(l, ALU_ADD, size, H_RAX, r);
		break;
	case FLAGS_TEST:
		if (r->b != INSN_NOREG) {
			emit_test(l, size, a, host_of[r->b]);
			break;
		}
		e = sized(size == 1 ? 0xf6 : 0xf7, size);
		a_enc(&l->a, &e, 0, op_reg(a));
		a_imm(&l->a, (uint64_t)(int64_t)r->imm, MIN(size, 4u));
		break;
	default: emit_test(l, size, a, a); break;
	}
}

void flags_clobber(struct lowering *l)
{
	if (l->host && !l->home && !(l->recipe.kind != FLAGS_HOME && l->recipe_lasts)) {
		emit_flags_save(&l->a);
		l->home = true;
	}
	l->host = false;
}

void flags_to_host(struct lowering *l)
{
	if (l->host)
		return;
	if (!l->home && l->recipe.kind != FLAGS_HOME)
		emit_recipe(l, &l->recipe);
	else
		emit_flags_load(l);
	l->host = true;
}

void emit_recipe_home(struct lowering *l, const struct flags_recipe *r)
{
	if (r->kind == FLAGS_HOME)
		return;
	emit_recipe(l, r);
	emit_flags_save(&l->a);
}

void flags_to_home(struct lowering *l)
{
	if (l->home)
		return;
	flags_to_host(l);
	emit_flags_save(&l->a);
	l->home = true;
}

/* How the flags that @i just set can be computed again. */
static struct flags_recipe recipe_of(const struct insn *i)
{
	struct flags_recipe r = {.size = i->opsize, .b = INSN_NOREG};
	unsigned dst = i->rm, src = i->reg;

	if (i->flags & (INSN_MEM | INSN_REG_HI | INSN_RM_HI))
		return r;
	switch (i->op) {
	case OP_CMP: r.kind = FLAGS_CMP; break;
	case OP_SUB: r.kind = FLAGS_SUB; break;
	case OP_ADD: r.kind = FLAGS_ADD; break;
	case OP_TEST: r.kind = FLAGS_TEST; break;
	case OP_AND:
	case OP_OR:
	case OP_XOR: r.kind = FLAGS_LOGIC; break;
	default: return r;
	}
	if (i->form == FORM_R_RM) {
		dst = i->reg;
		src = i->rm;
	}
	r.a = (uint8_t)dst;
	if (i->form == FORM_RM_I)
		r.imm = (int32_t)i->imm;
	else
		r.b = (uint8_t)src;
	if (!pinned(dst) || (r.b != INSN_NOREG && !pinned(src) && r.kind != FLAGS_LOGIC))
		r.kind = FLAGS_HOME;
	if (r.a == r.b && (r.kind == FLAGS_SUB || r.kind == FLAGS_ADD))
		r.kind = r.kind == FLAGS_SUB ? FLAGS_CMP : FLAGS_HOME; /* a - a: as 0 - 0 */
	return r;
}

/* Are the registers of @r left alone until flags are set anew? */
static bool recipe_lasts(const struct lowering *l, const struct flags_recipe *r)
{
	unsigned used = 1u << r->a;

	if (r->b != INSN_NOREG && r->kind != FLAGS_LOGIC)
		used |= 1u << r->b;
	for (const struct t_insn *t = l->t + 1; t < l->insns + l->n; t++) {
		if (t->fe & (FE_PART | FE_HOME | FE_FULL))
			return true;
		if (t->writes & used)
			return false;
	}
	return true;
}

void flags_set_all(struct lowering *l)
{
	l->host = true;
	l->home = false;
	l->recipe = recipe_of(&l->t->i);
	l->recipe_lasts = l->recipe.kind != FLAGS_HOME && recipe_lasts(l, &l->recipe);
	if (!l->recipe_lasts)
		l->recipe.kind = FLAGS_HOME;
}

/* --- sites ---------------------------------------------------------------------------- */

struct dbt_site *site_new(struct lowering *l, uint32_t *number)
{
	struct dbt_site *s;

	s = dbt_site_new(l->d);
	*number = s ? (uint32_t)(s - l->d->sites) : 0;
	if (!s) {
		l->failed = true;
		s = &l->no_site;
	}
	*s = (struct dbt_site){.block = l->b,
			       .align = 1,
			       .ahead = count_ahead(l),
			       .rip_off = (uint32_t)(l->t->rip - l->b->rip)};
	if (!l->home)
		s->flags = l->recipe;
	s->x87 = x87_at_site(l);
	return s;
}

struct cold_jump *cold_new(struct lowering *l, unsigned kind, uint8_t *jump)
{
	struct cold_jump *j = &l->jump[l->njump];

	if (l->njump == COLD_MAX - 1)
		l->failed = true;
	else
		l->njump++;
	*j = (struct cold_jump){.kind = kind, .jump = jump, .back = l->a.p};
	return j;
}

/* --- registers ------------------------------------------------------------------------ */

unsigned reg_read(struct lowering *l, unsigned g, unsigned scratch)
{
	if (pinned(g))
		return host_of[g];
	a_load(&l->a, scratch, op_vcpu(gpr_offset(g)));
	return scratch;
}

void reg_done(struct lowering *l, unsigned g, unsigned host)
{
	if (!pinned(g))
		a_store(&l->a, host, op_vcpu(gpr_offset(g)));
}
