/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump_asm.c - a block's host code as text.
 *
 * Offsets are from the block's start.  Guest instructions stand at the margin, above
 * their code.  Behind host instructions stands what their numbers mean: fields of the
 * vCPU, sites, links, entries of other blocks, and the code that all blocks share.
 */
#include "cpu/dbt/disasm.h"
#include "cpu/dbt/look.h"

/* --- names ------------------------------------------------------------------------- */

struct field {
	const char *name;
	uint32_t at, bytes;
};

static const struct field fields[] = {
#define F(f)                                                                \
	{                                                                   \
#f, offsetof(struct vcpu, f), sizeof(((struct vcpu *)0)->f) \
	}
	F(s.rip),      F(s.rflags),	  F(s.fx),	   F(d.self),	  F(d.code_base),
	F(d.gen_live), F(d.flags),	  F(d.exit),	   F(d.vec_live), F(d.vec_was),
	F(d.x87_live), F(d.x87_image),	  F(d.site),	   F(d.lin),	  F(d.resume),
	F(d.tmp),      F(d.link),	  F(d.host_mxcsr), F(d.stack),	  F(d.shadow),
	F(d.sp),       F(d.shadow_limit), F(insns),	   F(requests),	  F(d.budget),
#undef F
};

static void name_tlb(char *buf, size_t len, size_t at, bool indexed)
{
	static const char *const views[TLB_VIEWS] = {"smap", "super", "user"};
	size_t view = at / sizeof(((struct vcpu *)0)->tlb_all[0]);
	size_t rest = at % sizeof(((struct vcpu *)0)->tlb_all[0]);
	size_t slot = rest / sizeof(struct tlb_entry), field = rest % sizeof(struct tlb_entry);
	const char *name = field == offsetof(struct tlb_entry, read_tag)    ? "read_tag"
			   : field == offsetof(struct tlb_entry, write_tag) ? "write_tag"
			   : field == offsetof(struct tlb_entry, addend)    ? "addend"
									    : "host";

	if (indexed)
		snprintf(buf, len, "tlb.%s[].%s", views[view], name);
	else
		snprintf(buf, len, "tlb.%s[%zu].%s", views[view], slot, name);
}

static void name_jump(char *buf, size_t len, size_t at)
{
	size_t field = at % sizeof(struct jump_entry);

	snprintf(buf, len, "d.jumps[].%s",
		 field == offsetof(struct jump_entry, gen)    ? "gen"
		 : field == offsetof(struct jump_entry, code) ? "code"
							      : "rip");
}

/* @at - @base in an array of @bytes; SIZE_MAX: not there. */
static size_t within(int64_t at, size_t base, size_t bytes)
{
	return at >= (int64_t)base && (uint64_t)at < base + bytes ? (size_t)at - base : SIZE_MAX;
}

#define WITHIN(field) within(at, offsetof(struct vcpu, field), sizeof(((struct vcpu *)0)->field))

/* The vCPU's field at offset @at. */
static void name_field(char *buf, size_t len, int64_t at, bool indexed)
{
	static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldt", "task"};
	size_t off;

	*buf = 0;
	for (size_t n = 0; n < ARRAY_SIZE(fields); n++)
		if (within(at, fields[n].at, fields[n].bytes) != SIZE_MAX) {
			snprintf(buf, len, "%s", fields[n].name);
			return;
		}
	if ((off = WITHIN(s.gpr)) != SIZE_MAX)
		snprintf(buf, len, "guest %s", dump_reg((unsigned)(off / 8), 8));
	else if ((off = WITHIN(s.vec)) != SIZE_MAX)
		snprintf(buf, len, "guest vector %zu", off / sizeof(struct cpu_vec));
	else if ((off = WITHIN(s.seg)) != SIZE_MAX && off / sizeof(struct cpu_seg) < 8)
		snprintf(buf, len, "guest %s base", segs[off / sizeof(struct cpu_seg)]);
	else if ((off = WITHIN(tlb_all)) != SIZE_MAX)
		name_tlb(buf, len, off, indexed);
	else if ((off = WITHIN(tlb_xid)) != SIZE_MAX)
		snprintf(buf, len, "code page number, slot %zu", off / sizeof(uint32_t) % TLB_SIZE);
	else if ((off = WITHIN(d.fold)) != SIZE_MAX)
		snprintf(buf, len, "d.fold[%zu]", off / sizeof(uint64_t));
	else if ((off = WITHIN(d.jumps)) != SIZE_MAX)
		name_jump(buf, len, off);
}

static const char *glue_name(const struct dbt *d, uint32_t at)
{
	const struct {
		const char *name;
		uint32_t at;
	} all[] = {
#define G(name) {#name, d->name}
		G(enter),     G(leave_saved),	  G(slow),	  G(slow_site),	 G(helper),
		G(link_exit), G(link_exit_flags), G(poll_exit),	  G(block_exit), G(vec_load),
		G(x87_load),  G(x87_save),	  G(lookup_exit), G(ret_miss),	 G(ret_empty),
#undef G
	};

	for (size_t n = 0; n < ARRAY_SIZE(all); n++)
		if (all[n].at == at)
			return all[n].name;
	return "shared code";
}

/* --- the listing ----------------------------------------------------------------------- */

struct listing {
	FILE *f;
	const struct dbt *d;
	const struct dbt_block *b;
	const struct lowering *l;      /* or NULL */
	const uint8_t *code;	       /* or NULL */
	uint64_t imm[16];	       /* the latest immediate moved to each register */
	unsigned next;		       /* instruction of @l whose code comes next */
	uint32_t first_site, end_site; /* of the block: they lie together */
};

static uint32_t offset(const struct listing *t, uint64_t host)
{
	return (uint32_t)(host - (uintptr_t)t->d->rx);
}

/* The site whose number is in RCX, where its code jumps out. */
static void describe_site(const struct listing *t, char *buf, size_t len)
{
	uint64_t number = t->imm[H_RCX];
	const struct dbt_site *s = &t->d->sites[number];
	char flags[48];
	uint64_t rip;

	if (number >= (uint64_t)t->d->nsegments * t->d->segment_sites || s->block != t->b)
		return;
	rip = t->b->rip + s->rip_off;
	if (s->insn)
		snprintf(buf, len, "site %llu: %s of %llx", (unsigned long long)number,
			 x86_op_name(s->insn->op), (unsigned long long)rip);
	else if (s->access == 0xff)
		snprintf(buf, len, "site %llu: %llx in the interpreter", (unsigned long long)number,
			 (unsigned long long)rip);
	else
		snprintf(buf, len, "site %llu: %s %u of %llx, flags %s", (unsigned long long)number,
			 s->access == ACCESS_WRITE ? "write" : "read", s->size,
			 (unsigned long long)rip, dump_recipe(flags, &s->flags));
}

/* The link whose rel32 or guard ends at @end. */
static void describe_link(const struct listing *t, uint32_t end, char *buf, size_t len)
{
	for (const struct dbt_link *k = t->b->out; k; k = k->next_out)
		if (k->jump + 4 == end)
			snprintf(buf, len, "%s %llx%s%s", k->to ? "linked to" : "link to",
				 (unsigned long long)k->target,
				 k->flags_host ? ", flags in the host's" : "",
				 k->poll ? ", looks for requests" : "");
		else if (k->guard && k->guard + 4 == end)
			snprintf(buf, len, "is the page of %llx still the one linked to?",
				 (unsigned long long)k->target);
}

/* The link whose number is in RCX. */
static void describe_exit(const struct listing *t, char *buf, size_t len)
{
	for (const struct dbt_link *k = t->b->out; k; k = k->next_out)
		if (t->imm[H_RCX] == dbt_ref(t->d, k))
			snprintf(buf, len, "to %llx", (unsigned long long)k->target);
}

static void describe_branch(const struct listing *t, struct disasm *i, char *buf, size_t len)
{
	uint32_t at = offset(t, i->target);
	size_t n = strlen(i->text);
	const char *name;

	if (at >= t->b->start && at < t->b->end) {
		snprintf(i->text + n, sizeof(i->text) - n, "+%04x", at - t->b->start);
	} else if (at < DBT_GLUE_BYTES) {
		name = glue_name(t->d, at);
		snprintf(i->text + n, sizeof(i->text) - n, "%s", name);
		if (!strcmp(name, "slow") || !strcmp(name, "helper"))
			describe_site(t, buf, len);
		else if (!strncmp(name, "link_exit", 9))
			describe_exit(t, buf, len);
	} else {
		snprintf(i->text + n, sizeof(i->text) - n, "%llx", (unsigned long long)i->target);
	}
}

static void describe_field(const struct disasm *i, char *buf, size_t len)
{
	name_field(buf, len, i->disp, i->index);
}

static void print_host(struct listing *t, uint32_t at, struct disasm *i)
{
	char what[96] = "";

	if (i->mov_imm && i->mov_reg < 16)
		t->imm[i->mov_reg] = i->imm;
	if (i->branch)
		describe_branch(t, i, what, sizeof(what));
	else if (i->gs)
		describe_field(i, what, sizeof(what));
	describe_link(t, at + i->len, what, sizeof(what));
	if (*what)
		fprintf(t->f, "      +%04x  %-44s ; %s\n", at - t->b->start, i->text, what);
	else
		fprintf(t->f, "      +%04x  %s\n", at - t->b->start, i->text);
}

static void print_guest(struct listing *t, const struct t_insn *g)
{
	unsigned off = (unsigned)(g->rip - t->b->rip);
	struct disasm i;

	if (!t->code || off >= t->b->bytes)
		return;
	disasm(t->code + off, t->b->bytes - off, g->rip, &i);
	fprintf(t->f, "    %016llx  %s", (unsigned long long)g->rip, i.text);
	if (i.branch)
		fprintf(t->f, "%llx", (unsigned long long)i.target);
	fputc('\n', t->f);
}

/* What begins at @at: guest instructions, entries, the part out of line. */
static void print_labels(struct listing *t, uint32_t at)
{
	const struct dbt_block *b = t->b;
	const struct lowering *l = t->l;

	if (at == b->code_poll)
		fprintf(t->f, "    entry: looks for requests, flags in the host's\n");
	if (at == b->code_flags)
		fprintf(t->f, "    entry: flags in the host's\n");
	if (at == b->code)
		fprintf(t->f, "    entry: flags at home\n");
	if (!l)
		return;
	if (at == l->cold)
		fprintf(t->f, "    out of line\n");
	for (; t->next < l->n && l->insns[t->next].code <= at; t->next++)
		print_guest(t, &l->insns[t->next]);
}

/* The sites of the block, among those of its segment. */
static void find_sites(struct listing *t)
{
	const struct dbt *d = t->d;
	size_t segment = (size_t)((const uint8_t *)t->b - d->meta) / d->segment_bytes;
	uint32_t from = (uint32_t)segment * d->segment_sites;

	for (uint32_t n = from; n < from + d->segment_sites; n++) {
		if (d->sites[n].block != t->b)
			continue;
		if (!t->end_site)
			t->first_site = n;
		t->end_site = n + 1;
	}
}

/* Without the lowering at hand, the sites tell what code is whose. */
static void print_site_labels(const struct listing *t, uint32_t at)
{
	for (uint32_t n = t->first_site; n < t->end_site; n++) {
		const struct dbt_site *s = &t->d->sites[n];

		if (s->block == t->b && !s->insn && s->access != 0xff && s->retry == at)
			fprintf(t->f, "    %016llx  (%s %u)\n",
				(unsigned long long)(t->b->rip + s->rip_off),
				s->access == ACCESS_WRITE ? "write" : "read", s->size);
	}
}

void dump_asm(FILE *f, const struct dbt *d, const struct dbt_block *b, const struct lowering *l,
	      const uint8_t *code)
{
	struct listing t = {.f = f, .d = d, .b = b, .l = l, .code = code};

	if (!l)
		find_sites(&t);
	fprintf(f, "  asm at %llx (r9, r10, r11 are guest rax, rcx, rsp; rax, rcx scratch)\n",
		(unsigned long long)(uintptr_t)(d->rx + b->start));
	for (uint32_t at = b->start; at < b->end;) {
		struct disasm i;

		print_labels(&t, at);
		print_site_labels(&t, at);
		disasm(d->rx + at, b->end - at, (uintptr_t)(d->rx + at), &i);
		print_host(&t, at, &i);
		at += i.len;
	}
}
