/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_sys.c - statements that change what translations of blocks rest on.
 *
 * Stores into code, by its own address and by others; page tables and control registers
 * (whatever is changed is invalidated at once: what a stale TLB entry does is not
 * defined); flags that trap; unmasked floating-point exceptions; exits.
 */
#include <string.h>
#include "cpu/tests/blocks_gen.h"

static void put32(uint8_t *b, uint64_t v)
{
	uint32_t w = (uint32_t)v;

	memcpy(b, &w, 4);
}

/* --- stores into code ----------------------------------------------------------------- */

enum site_form { SITE_IMM32, SITE_IMM8, SITE_OPCODE, SITE_JUMP, SITE_FORMS };
static const uint8_t site_size[SITE_FORMS] = {4, 1, 2, 1};

struct gen_site sys_put_site(struct gen *g)
{
	static const uint8_t regs[] = {GPR_RAX, GPR_RDX};
	unsigned form = rng_below(&g->r, SITE_FORMS), reg = regs[rng_below(&g->r, 2)];
	uint32_t at = g->win + g->at + 1;

	if (form == SITE_IMM32 && rng_chance(&g->r, 50)) {
		GEN_PUT(g, (uint8_t)(0xb8 | reg), 1, 2, 3, 4); /* MOV */
	} else if (form == SITE_IMM32) {
		GEN_PUT(g, (uint8_t)(0x05 + 8 * rng_below(&g->r, 8)), 1, 0, 0,
			0); /* op EAX, imm32 */
		reg = GPR_RAX;
	} else if (form == SITE_IMM8) {
		GEN_PUT(g, (uint8_t)(0xb0 | reg), 9);
	} else if (form == SITE_OPCODE) {
		at--;
		GEN_PUT(g, 0x66, 0x90);
	} else if (g->left < 4) {
		form = SITE_IMM8;
		GEN_PUT(g, (uint8_t)(0xb0 | reg), 9);
	} else {
		GEN_PUT(g, 0xeb, 0);
		GEN_PUT(g, 0xf9);	      /* STC */
		GEN_PUT(g, 0x48, 0xff, 0xc2); /* INC RDX */
		reg = GPR_RDX;
	}
	gen_forget(g, (uint16_t)(1u << reg));
	return (struct gen_site){.at = at, .form = (uint8_t)form};
}

/* What may stand at a site of @form. */
static uint32_t site_value(struct gen *g, unsigned form)
{
	static const uint16_t opcodes[] = {0x9066, 0xc0ff, 0xd231, 0x00eb, 0xc8ff, 0x9090,
					   0xd001, 0xf9f8, 0xc2fe, 0x0b0f, 0x92f5};
	static const uint8_t jumps[] = {0, 1, 1, 4, 0xfe};

	if (form == SITE_OPCODE)
		return opcodes[rng_below(&g->r, ARRAY_SIZE(opcodes))];
	if (form == SITE_JUMP) /* the last one jumps to itself: rarely */
		return jumps[rng_below(&g->r, rng_chance(&g->r, 1) ? 5 : 4)];
	return (uint32_t)rng_integer(&g->r);
}

/* Another address of the same bytes. */
static uint32_t alias_of(struct gen *g, uint32_t at)
{
	unsigned k = rng_below(&g->r, 10);

	if (k < 6)
		return at;
	if (k < 8 && at < BLK_CODE + 0x2000)
		return BLK_ALIAS + at;
	return BLK_BIG + blk_gpa(at) - BLK_TEST;
}

struct store { /* an instruction whose disp32 is to lead to the site */
	uint32_t field, end;
	int32_t delta; /* of the alias */
	bool put;
};

/* A store of a value for @form; its address is filled in later. */
static struct store put_store(struct gen *g, unsigned form)
{
	static const uint8_t by_string[] = {0xab, 0xaa, 0xab, 0xaa};
	uint32_t v = site_value(g, form);
	uint8_t b[16] = {0};
	unsigned n = 0, disp, size = site_size[form], k = rng_below(&g->r, 8);
	struct store s = {0};

	if (k == 0 && g->left >= 3) { /* STOS */
		gen_set(g, GPR_RAX, v);
		GEN_PUT(g, 0xfc);
		s.put = GEN_PUT(g, 0x48, 0x8d, 0x3d, 0, 0, 0, 0);
		s.field = g->at - 4;
		s.end = g->at;
		gen_forget(g, 1 << GPR_RDI);
		if (size == 2)
			GEN_PUT(g, 0x66, 0xab);
		else
			gen_put(g, by_string + form, 1);
		return s;
	}
	if (size == 2)
		b[n++] = 0x66;
	if (size == 4 && k == 1) { /* LOCK ADD dword, imm32 */
		b[n++] = 0xf0;
		b[n++] = 0x81;
	} else if (size == 4 && k == 2) { /* ADD dword, imm32 */
		b[n++] = 0x81;
	} else if (size == 4 && (k == 3 || k == 4)) { /* MOV, XCHG with EDX */
		b[n++] = k == 3 ? 0x89 : 0x87;
		b[n++] = 0x15;
	} else if (size == 4 && k == 5) { /* MOVD [], xmm0 */
		b[n++] = 0x66;
		b[n++] = 0x0f;
		b[n++] = 0x7e;
		b[n++] = 0x05;
	} else {
		b[n++] = size == 1 ? 0xc6 : 0xc7;
	}
	if (n == 0 || b[n - 1] == 0x81 || b[n - 1] == 0xc6 || b[n - 1] == 0xc7)
		b[n++] = 0x05;
	disp = n;
	n += 4;
	if (disp >= 2 && (b[disp - 2] == 0x81 || b[disp - 2] == 0xc6 || b[disp - 2] == 0xc7)) {
		memcpy(b + n, &v, size);
		n += size;
	}
	s.put = gen_put(g, b, n);
	if (b[0] == 0x87)
		gen_forget(g, 1 << GPR_RDX);
	s.end = g->at;
	s.field = g->at - (n - disp);
	return s;
}

static void connect(struct gen *g, const struct store *s, uint32_t site)
{
	int32_t rel = (int32_t)(alias_of(g, site) - (g->win + s->end));

	if (s->put)
		memcpy(g->buf + s->field, &rel, 4);
}

static void remember(struct gen *g, struct gen_site site)
{
	g->site[g->nsites++ % ARRAY_SIZE(g->site)] = site;
}

void sys_smc(struct gen *g)
{
	unsigned k = rng_below(&g->r, 10), n = MIN(g->nsites, (unsigned)ARRAY_SIZE(g->site));
	struct gen_site site;
	struct store s;

	if (g->left < 6 || g->in_sub)
		return;
	if (k < 2 && g->nsub_sites) { /* into a subroutine */
		site = g->sub_site[rng_below(&g->r, g->nsub_sites)];
		s = put_store(g, site.form);
		connect(g, &s, site.at);
		if (rng_chance(&g->r, 60))
			flow_call(g);
	} else if (k < 4 && n) { /* behind us */
		site = g->site[rng_below(&g->r, n)];
		s = put_store(g, site.form);
		connect(g, &s, site.at);
	} else { /* ahead of us */
		unsigned form = rng_below(&g->r, SITE_FORMS), left = g->left;

		s = put_store(g, form);
		for (unsigned m = rng_below(&g->r, 3); m; m--)
			gen_plain(g);
		do
			site = sys_put_site(g);
		while (site.form != form && g->left && left - g->left < 12);
		if (site.form == form)
			connect(g, &s, site.at);
		remember(g, site);
	}
}

/* --- page tables and control registers ------------------------------------------------------- */

static void put_invalidate(struct gen *g, uint32_t page)
{
	uint8_t b[8] = {0x0f, 0x01, 0x3c, 0x25}; /* INVLPG [disp32] */

	if (g->c->pcid) { /* INVPCID of all, in any address space */
		uint8_t all[10] = {0x66, 0x0f, 0x38, 0x82, 0x04, 0x25};

		gen_set_small(g, GPR_RAX, 2);
		put32(all + 6, gen_lin(g, BLK_VARS + BLK_ZEROS));
		gen_put(g, all, 10);
		return;
	}
	if (!g->c->pge && rng_chance(&g->r, 30)) { /* MOV RAX, CR3; MOV CR3, RAX */
		GEN_PUT(g, 0x0f, 0x20, 0xd8);
		GEN_PUT(g, 0x0f, 0x22, 0xd8);
		gen_forget(g, 1 << GPR_RAX);
		return;
	}
	put32(b + 4, gen_lin(g, page));
	gen_put(g, b, 8);
}

static void change_entry(struct gen *g, uint32_t page, bool space_b)
{
	static const uint8_t bits[] = {1, 1, 1, 0, 63, 63, 5, 6, 2};
	uint32_t pt = g->c->user_base ? (space_b ? BLK_PT_USER_B : BLK_PT_USER_A)
				      : (space_b ? BLK_PT_KERNEL_B : BLK_PT_KERNEL_A);
	uint64_t entry = BLK_S_BASE + pt + (page >> 12) * 8;
	uint8_t flip[10] = {0x48, 0x0f, 0xba, 0x3c, 0x25}; /* BTC qword [disp32], imm8 */
	uint8_t set[12] = {0x48, 0xc7, 0x04, 0x25};	   /* MOV qword [disp32], imm32 */

	if (rng_chance(&g->r, 60)) {
		put32(flip + 5, entry);
		flip[9] = bits[rng_below(&g->r, ARRAY_SIZE(bits))];
		gen_put(g, flip, 10);
		return;
	}
	put32(set + 4, entry);
	put32(set + 8, (BLK_TEST + 0x1000 * rng_below(&g->r, 0x13)) | 3 |
			       (g->c->user_base ? 4 : 0) | (rng_below(&g->r, 2) ? 0x60 : 0));
	gen_put(g, set, 12);
}

/* Subroutines of the one address space or the other, called before and after. */
static void change_subs(struct gen *g)
{
	uint32_t page = BLK_SUBS + 0x1000 * rng_below(&g->r, 2);
	uint32_t pt = g->c->user_base ? BLK_PT_USER_A : BLK_PT_KERNEL_A;
	uint8_t set[12] = {0x48, 0xc7, 0x04, 0x25}; /* MOV qword [disp32], imm32 */

	if (rng_chance(&g->r, 70))
		flow_call(g);
	put32(set + 4, BLK_S_BASE + pt + (page >> 12) * 8);
	put32(set + 8, (blk_gpa(page) + (rng_chance(&g->r, 60) ? BLK_SUBS_TO_B : 0)) | 3 |
			       (g->c->user_base ? 4 : 0));
	gen_put(g, set, 12);
	put_invalidate(g, page);
	flow_call(g);
}

static void put_mov_cr3(struct gen *g, bool space_b)
{
	uint64_t v = space_b ? BLK_PML4_B : BLK_PML4_A;

	if (g->c->pcid) {
		v |= space_b ? 2 : 1;
		if (rng_chance(&g->r, 70))
			v |= 1ULL << 63; /* keep what the TLB has of it */
	}
	gen_set(g, GPR_RAX, v);
	GEN_PUT(g, 0x0f, 0x22, 0xd8);
}

void sys_paging(struct gen *g)
{
	static const uint32_t pages[] = {BLK_DATA,	    BLK_DATA + 0x1000,	BLK_DATA + 0x2000,
					 BLK_DATA + 0x3000, BLK_SUBS,		BLK_SUBS + 0x1000,
					 BLK_DEMAND,	    BLK_DEMAND + 0x1000};
	uint32_t page = pages[rng_below(&g->r, ARRAY_SIZE(pages))];

	if (g->left < 5)
		return;
	if (rng_chance(&g->r, 20)) {
		put_mov_cr3(g, rng_below(&g->r, 2));
		return;
	}
	if (rng_chance(&g->r, 30)) {
		change_subs(g);
		return;
	}
	change_entry(g, page, rng_chance(&g->r, 15));
	put_invalidate(g, page);
	if (rng_chance(&g->r, 30))
		flow_call(g);
}

static void flip_control(struct gen *g, unsigned cr, unsigned bit)
{
	GEN_PUT(g, 0x0f, 0x20, (uint8_t)(0xc0 | cr << 3));
	GEN_PUT(g, 0x48, 0x0f, 0xba, 0xf8, (uint8_t)bit); /* BTC RAX, imm8 */
	GEN_PUT(g, 0x0f, 0x22, (uint8_t)(0xc0 | cr << 3));
	gen_forget(g, 1 << GPR_RAX);
}

void sys_control(struct gen *g)
{
	static const uint8_t cr0[] = {3, 3, 16, 18, 2}, cr4[] = {7, 7, 20, 21, 18, 9, 16};

	if (g->left < 6)
		return;
	switch (rng_below(&g->r, 8)) {
	case 0: GEN_PUT(g, 0x0f, 0x06); break; /* CLTS */
	case 1:				       /* XSETBV */
		gen_set_small(g, GPR_RCX, 0);
		gen_set_small(g, GPR_RDX, 0);
		gen_set(g, GPR_RAX, rng_chance(&g->r, 50) ? 7 : 1 + 2 * rng_below(&g->r, 2));
		GEN_PUT(g, 0x0f, 0x01, 0xd1);
		break;
	case 2:
		GEN_PUT(g, 0x0f, 0x01, (uint8_t)(0xca + rng_below(&g->r, 2)));
		break;				     /* CLAC, STAC */
	case 3: GEN_PUT(g, 0x0f, 0x01, 0xf8); break; /* SWAPGS */
	case 4:					     /* WRMSR of FS base */
		gen_set(g, GPR_RCX, 0xc0000100);
		gen_set(g, GPR_RDX, gen_lin(g, 0) >> 32);
		gen_set(g, GPR_RAX, (uint32_t)gen_lin(g, BLK_DATA + 0x800));
		GEN_PUT(g, 0x0f, 0x30);
		break;
	case 5: flip_control(g, 4, cr4[rng_below(&g->r, ARRAY_SIZE(cr4))]); break;
	default: flip_control(g, 0, cr0[rng_below(&g->r, ARRAY_SIZE(cr0))]);
	}
}

/* A breakpoint on the code that follows, or on data; or none again. */
void sys_debug(struct gen *g)
{
	static const uint32_t kinds[] = {0x401, 0x402, 0x90402, 0xd0401, 0xf0403, 0x400, 0x10401};
	uint64_t at = gen_lin(g, BLK_DATA + 0x400) + 8 * rng_below(&g->r, 0x400);

	if (g->left < 6)
		return;
	if (rng_chance(&g->r, 50))
		at = gen_here(g) + 20 + rng_below(&g->r, 40);
	gen_set(g, GPR_RAX, at);
	GEN_PUT(g, 0x0f, 0x23, 0xc0); /* MOV DR0, RAX */
	gen_set(g, GPR_RAX, kinds[rng_below(&g->r, ARRAY_SIZE(kinds))]);
	GEN_PUT(g, 0x0f, 0x23, 0xf8); /* MOV DR7, RAX */
}

/* --- flags, floating point ------------------------------------------------------------ */

void sys_flags(struct gen *g)
{
	static const uint32_t sets[] = {FL_TF, FL_TF,	      FL_AC, FL_DF,
					FL_CF, FL_OF | FL_ZF, FL_IF, FL_ID};
	uint32_t v = sets[rng_below(&g->r, ARRAY_SIZE(sets))];
	uint8_t b[8] = {0x48, 0x81, (uint8_t)(rng_below(&g->r, 2) ? 0x0c : 0x34), 0x24};

	switch (rng_below(&g->r, 6)) {
	case 0:
	case 1:
		if (g->left < 3)
			break;
		put32(b + 4, v);
		GEN_PUT(g, 0x9c);
		gen_put(g, b, 8); /* OR or XOR qword [RSP], imm32 */
		GEN_PUT(g, 0x9d);
		break;
	case 2:
		if (!g->c->user)
			GEN_PUT(g, (uint8_t)(0xfa + rng_below(&g->r, 2))); /* CLI, STI */
		break;
	case 3: GEN_PUT(g, (uint8_t)(0x9e + rng_below(&g->r, 2))); break; /* SAHF, LAHF */
	case 4: GEN_PUT(g, 0xfc); break;
	default: GEN_PUT(g, 0x9c);
	}
}

/* PUSH imm32; LDMXCSR or FLDCW [RSP]; LEA RSP. */
void sys_fpu(struct gen *g)
{
	uint8_t push[5] = {0x68};

	if (g->left < 3)
		return;
	if (rng_chance(&g->r, 50)) {
		put32(push + 1, (0x1f80 ^ (1u << (7 + rng_below(&g->r, 6)))) |
					(rng_chance(&g->r, 30) ? 1u << rng_below(&g->r, 16) : 0));
		gen_put(g, push, 5);
		GEN_PUT(g, 0x0f, 0xae, 0x14, 0x24);
	} else {
		put32(push + 1, 0x037f ^ (1u << rng_below(&g->r, 12)));
		gen_put(g, push, 5);
		GEN_PUT(g, 0xd9, 0x2c, 0x24);
	}
	GEN_PUT(g, 0x48, 0x8d, 0x64, 0x24, 0x08);
}

/* --- exits and the rest -------------------------------------------------------------- */

void sys_io(struct gen *g)
{
	static const uint8_t by_dx[] = {0xec, 0xed, 0xee, 0xef},
			     by_imm[] = {0xe4, 0xe5, 0xe6, 0xe7};

	gen_forget(g, 1 << GPR_RAX);
	if (rng_chance(&g->r, 50)) {
		GEN_PUT(g, by_imm[rng_below(&g->r, 4)], (uint8_t)rng_below(&g->r, 256));
	} else if (rng_chance(&g->r, 60)) {
		gen_set(g, GPR_RDX, rng_below(&g->r, 0x1000));
		gen_put(g, by_dx + rng_below(&g->r, 4), 1);
	} else { /* REP INS, OUTS */
		gen_set_small(g, GPR_RCX, rng_below(&g->r, 6));
		gen_set(g, GPR_RSI, gen_target(g, 4, false, false));
		gen_set(g, GPR_RDI, gen_target(g, 4, false, true));
		GEN_PUT(g, 0xf3, (uint8_t)(0x6c + rng_below(&g->r, 4)));
		gen_forget(g, 1 << GPR_RCX);
	}
}

/* Loads and stores behind the RAM, some across its end. */
void sys_mmio(struct gen *g)
{
	static const struct {
		uint8_t n, op[5];
	} ops[] = {
		{2, {0x8b, 0x05}},	 {2, {0x89, 0x15}},	  {3, {0x48, 0x8b, 0x05}},
		{3, {0x48, 0x01, 0x15}}, {2, {0x8a, 0x05}},	  {3, {0xf0, 0x01, 0x15}},
		{3, {0x0f, 0x10, 0x05}}, {3, {0x0f, 0x11, 0x05}}, {4, {0xc5, 0xfc, 0x10, 0x05}},
		{3, {0x66, 0x89, 0x15}}, {2, {0x03, 0x05}},	  {3, {0x0f, 0xb6, 0x05}},
	};
	unsigned k = rng_below(&g->r, ARRAY_SIZE(ops));
	uint64_t to = gen_lin(g, BLK_BIG + BLK_TEST_PAGES * 0x1000);

	to += rng_chance(&g->r, 25) ? rng_below(&g->r, 32) - 16ULL : 8 * rng_below(&g->r, 0x800);
	gen_put_rip(g, ops[k].op, ops[k].n, to, NULL, 0);
	gen_forget(g, 1 << GPR_RAX);
}

void sys_ident(struct gen *g)
{
	const uint16_t rax_rdx = 1 << GPR_RAX | 1 << GPR_RDX;

	switch (rng_below(&g->r, 6)) {
	case 0:
		gen_set_small(g, GPR_RAX, rng_below(&g->r, 8));
		gen_set_small(g, GPR_RCX, 0);
		GEN_PUT(g, 0x0f, 0xa2);
		gen_forget(g, rax_rdx | 1 << GPR_RCX | 1 << GPR_RBX);
		break;
	case 1:
		gen_set_small(g, GPR_RCX, rng_below(&g->r, 2));
		GEN_PUT(g, 0x0f, 0x01, 0xd0); /* XGETBV */
		gen_forget(g, rax_rdx);
		break;
	case 2:
		GEN_PUT(g, 0x0f, 0x01, 0xe2);
		gen_forget(g, 1 << GPR_RDX);
		break; /* SMSW */
	case 3:
		GEN_PUT(g, 0x0f, 0x00, 0xca);
		gen_forget(g, 1 << GPR_RDX);
		break; /* STR */
	case 4:
		GEN_PUT(g, 0xf3, 0x0f, 0xc7, 0xf8);
		gen_forget(g, 1 << GPR_RAX);
		break; /* RDPID */
	default: {     /* XSAVE, XSAVEC, XRSTOR of what was saved */
		static const uint8_t save[] = {0x48, 0x0f, 0xae, 0x25},
				     savec[] = {0x48, 0x0f, 0xc7, 0x25},
				     load[] = {0x48, 0x0f, 0xae, 0x2d};
		uint64_t to = gen_lin(g, BLK_DATA) + 64 * rng_below(&g->r, 0xc0);

		if (g->left < 5)
			break;
		gen_set_small(g, GPR_RAX, rng_below(&g->r, 8));
		gen_set_small(g, GPR_RDX, 0);
		gen_put_rip(g, rng_below(&g->r, 2) ? save : savec, 4, to, NULL, 0);
		if (rng_chance(&g->r, 50))
			gen_plain(g);
		gen_put_rip(g, load, 4, to, NULL, 0);
	}
	}
}

void sys_segment(struct gen *g)
{
	static const uint8_t segs[] = {0xc0, 0xd8, 0xd0, 0xd0}; /* ES, DS, SS */
	unsigned seg = segs[rng_below(&g->r, ARRAY_SIZE(segs))];

	gen_set_small(g, GPR_RAX, g->c->user ? BLK_SEL_DS3 : BLK_SEL_DS0);
	gen_forget(g, 1 << GPR_RAX);
	GEN_PUT(g, 0x8e, (uint8_t)seg);
}
