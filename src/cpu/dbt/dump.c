/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump.c - the translator's passes over a block as text: decoded instructions, and what
 * classification and lowering made of them.
 */
#include "cpu/dbt/disasm.h"
#include "cpu/dbt/look.h"

const char *dump_reg(unsigned reg, unsigned size)
{
	static const char *const r64[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	static const char *const r32[16] = {"eax",  "ecx",  "edx",  "ebx", "esp",  "ebp",
					    "esi",  "edi",  "r8d",  "r9d", "r10d", "r11d",
					    "r12d", "r13d", "r14d", "r15d"};
	static const char *const r16[16] = {"ax",   "cx",   "dx",   "bx",  "sp",   "bp",
					    "si",   "di",   "r8w",  "r9w", "r10w", "r11w",
					    "r12w", "r13w", "r14w", "r15w"};
	static const char *const r8[16] = {"al",   "cl",   "dl",   "bl",  "spl",  "bpl",
					   "sil",  "dil",  "r8b",  "r9b", "r10b", "r11b",
					   "r12b", "r13b", "r14b", "r15b"};

	if (reg > 15)
		return "?";
	return size == 1 ? r8[reg] : size == 2 ? r16[reg] : size == 4 ? r32[reg] : r64[reg];
}

/* --- ops ----------------------------------------------------------------------------- */

void dump_ops(FILE *f, uint64_t rip, const uint8_t *code, size_t len)
{
	fprintf(f, "  ops\n");
	for (size_t at = 0; at < len;) {
		char hex[2 * INSN_MAX_LEN + 1];
		struct disasm d;

		disasm(code + at, len - at, rip + at, &d);
		for (unsigned n = 0; n < d.len; n++)
			snprintf(hex + 2 * n, 3, "%02x", code[at + n]);
		if (d.branch)
			fprintf(f, "    %016llx  %-22s %s%016llx\n", (unsigned long long)(rip + at),
				hex, d.text, (unsigned long long)d.target);
		else
			fprintf(f, "    %016llx  %-22s %s\n", (unsigned long long)(rip + at), hex,
				d.text);
		at += d.len;
	}
}

/* --- ir -------------------------------------------------------------------------------- */

const char *dump_recipe(char buf[48], const struct flags_recipe *r)
{
	static const char *const how[] = {
		[FLAGS_CMP] = "cmp",
		[FLAGS_SUB] = "as sub left",
		[FLAGS_ADD] = "as add left",
		[FLAGS_TEST] = "test",
		[FLAGS_LOGIC] = "as and, or, xor left",
	};

	if (r->kind == FLAGS_HOME || r->kind >= ARRAY_SIZE(how))
		return "at home";
	if (r->kind == FLAGS_LOGIC)
		snprintf(buf, 48, "%s %s", how[r->kind], dump_reg(r->a, r->size));
	else if (r->b == INSN_NOREG)
		snprintf(buf, 48, "%s %s, %d", how[r->kind], dump_reg(r->a, r->size), r->imm);
	else
		snprintf(buf, 48, "%s %s, %s", how[r->kind], dump_reg(r->a, r->size),
			 dump_reg(r->b, r->size));
	return buf;
}

static const char *effect(const struct t_insn *t)
{
	if (t->fe & FE_HOME)
		return "at home";
	if (t->fe & FE_READ)
		return t->fe & FE_FULL ? "reads, sets" : t->fe & FE_PART ? "reads, part" : "reads";
	return t->fe & FE_FULL ? "sets all" : t->fe & FE_PART ? "sets part" : "-";
}

static const char *registers(char buf[80], unsigned mask)
{
	size_t n = 0;

	if (mask == 0xffff)
		return "any";
	if (!mask)
		return "-";
	for (unsigned r = 0; r < 16; r++)
		if (mask & 1u << r)
			n += (size_t)snprintf(buf + n, 80 - n, "%s%s", n ? "," : "",
					      dump_reg(r, 8));
	return buf;
}

/* Where the guest's flags are when the instruction begins. */
static const char *flags_place(unsigned at)
{
	static const char *const places[] = {
		[0] = "not needed",
		[T_FLAGS_HOME] = "home",
		[T_FLAGS_HOST] = "host",
		[T_FLAGS_HOME | T_FLAGS_HOST] = "home, host",
		[T_FLAGS_RECIPE] = "recipe",
		[T_FLAGS_RECIPE | T_FLAGS_HOME] = "home",
		[T_FLAGS_RECIPE | T_FLAGS_HOST] = "host",
		[T_FLAGS_RECIPE | T_FLAGS_HOME | T_FLAGS_HOST] = "home, host",
	};

	return places[at & 7];
}

/* The accesses @t checks: each has a way out of line, with a site. */
static void print_accesses(FILE *f, const struct lowering *l, unsigned from, unsigned to)
{
	for (unsigned n = from; n < to; n++) {
		const struct dbt_site *s = &l->d->sites[l->access[n].site];
		char buf[48];

		fprintf(f, "%s%s %u", n > from ? "; " : "",
			s->access == ACCESS_WRITE ? "write" : "read", s->size);
		if (s->align > 1)
			fprintf(f, " aligned");
		if (l->access[n].ea.constant)
			fprintf(f, " constant");
		fprintf(f, " (site %u, flags %s)", l->access[n].site, dump_recipe(buf, &s->flags));
	}
}

/* Accesses of one group are checked once, by the first (fold.c). */
static void print_group(FILE *f, const struct lowering *l, const struct t_insn *t)
{
	const struct fold *g = t->fold ? &l->fold[t->fold - 1] : NULL;

	if (!g || g->members < 2)
		return;
	if (g->first == t)
		fprintf(f, "; group %u of %u accesses, %lld bytes", t->fold, g->members,
			(long long)(g->hi - g->lo));
	else
		fprintf(f, "in group %u", t->fold);
}

/* The instruction whose code comes behind that of @k and what was lowered with it. */
static unsigned next_lowered(const struct lowering *l, unsigned k)
{
	do
		k++;
	while (k < l->n && !l->insns[k].code);
	return k;
}

static void print_lowering(FILE *f, const struct lowering *l, unsigned k)
{
	const struct t_insn *t = &l->insns[k];
	unsigned next = next_lowered(l, k);
	unsigned to = next < l->n ? l->insns[next].naccess : l->naccess;

	fprintf(f, "%-10s ", flags_place(t->flags_at));
	if (!t->native)
		fprintf(f, "op %s", x86_op_name(t->i.op));
	else if (to == t->naccess && !t->fold)
		fprintf(f, "-");
	print_accesses(f, l, t->naccess, to);
	print_group(f, l, t);
}

void dump_ir(FILE *f, const struct lowering *l)
{
	fprintf(f, "  ir\n    %-16s  %-8s %-11s %-14s %-10s %s\n", "address", "how", "flags",
		"writes", "flags in", "checks");
	for (unsigned k = 0; k < l->n; k++) {
		const struct t_insn *t = &l->insns[k];
		char regs[80];

		fprintf(f, "    %016llx  %-8s %-11s %-14s ", (unsigned long long)t->rip,
			t->native ? "native" : "helper", effect(t), registers(regs, t->writes));
		if (t->code)
			print_lowering(f, l, k);
		else
			fprintf(f, "with the one before");
		fputc('\n', f);
	}
}

/* --- a block that was translated before -------------------------------------------------- */

/* The guest's code of @b as the TLB finds it now.  False: it does not. */
static bool find_code(const struct vcpu *c, const struct dbt_block *b, uint8_t *code)
{
	for (unsigned n = 0; n < b->bytes; n++) {
		uint64_t lin = b->rip + n;
		unsigned slot = lin >> 12 & (TLB_SIZE - 1);

		if (c->tlb_exec[c->view][slot] != (lin & ~0xfffULL))
			return false;
		code[n] = c->tlb_all[c->view][slot].host[lin & 0xfff];
	}
	return true;
}

void dbt_dump_block(struct vcpu *c, const struct dbt_block *b, FILE *f)
{
	uint8_t code[DBT_MAX_INSNS * INSN_MAX_LEN];

	if (find_code(c, b, code))
		dump_ops(f, b->rip, code, b->bytes);
	dump_asm(f, c->dbt, b, NULL, NULL);
}
