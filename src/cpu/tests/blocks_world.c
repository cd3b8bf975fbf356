/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_world.c - guest memory and system registers that random blocks run in.
 *
 * Two address spaces, A and B.  Each maps the windows (blocks.h) with 4 KiB pages for
 * the user, at several places, and for the supervisor, all test pages once more with one 2 MiB
 * page, and the system pages for the supervisor.  Nothing else is mapped, so that these pages are
 * all that a block can change.
 */
#include <string.h>
#include "cpu/tests/blocks.h"

enum { /* more guest-physical pages */
       P_UPDPT_A = 0x3000,
       P_UPD_A = 0x4000,
       P_UPDPT_B = 0x6000,
       P_UPD_B = 0x7000,
       P_KPDPT_A = 0x9000,
       P_KPD_A = 0xa000,
       P_KPDPT_B = 0xc000,
       P_KPD_B = 0xd000,
       P_SYSPT = 0xf000,
       P_GDT = 0x10000,
       P_IDT = 0x11000,
       P_TSS = 0x12000,
       P_HANDLERS = 0x18000,
};
enum { /* test pages, from BLK_TEST */
       T_CODE = 0x0000,
       T_SUBS_A = 0x2000,
       T_SUBS_B = 0x4000,
       T_DATA = 0x6000,
       T_STACK = 0xa000,
       T_RO = 0xc000,
       T_DEMAND = 0xd000,
       T_OTHER = 0x11000,
       T_VARS = 0x12000,
};
enum { PT_P = 1, PT_W = 2, PT_U = 4, PT_PS = 0x80, PT_G = 0x100 };
#define PT_NX (1ULL << 63)
enum { TSS_SEL = 0x30, HALT = 0xf4 };

extern const uint8_t blk_handlers[], blk_handlers_end[];

static const struct window {
	uint32_t off, gpa, pages;
	uint64_t attr;
	const char *name;
} windows[] = {
	{BLK_CODE, T_CODE, 2, PT_P | PT_W, "code"},
	{BLK_SUBS, T_SUBS_A, 2, PT_P | PT_W, "subs"},
	{BLK_DATA, T_DATA, BLK_DATA_PAGES, PT_P | PT_W | PT_NX, "data"},
	{BLK_STACK, T_STACK, 2, PT_P | PT_W | PT_NX, "stack"},
	{BLK_RO, T_RO, 1, PT_P | PT_NX, "ro"},
	{BLK_DEMAND, T_DEMAND, 1, PT_P | PT_NX, "demand"},
	{BLK_DEMAND + 0x1000, T_DEMAND + 0x1000, 3, PT_NX, "demand"},
	{BLK_OTHER, T_OTHER, 1, PT_P | PT_W | PT_NX, "other"},
	{BLK_ALIAS, T_CODE, 2, PT_P | PT_W | PT_NX, "code"},
	{BLK_VARS, T_VARS, 1, PT_P | PT_W | PT_NX, "vars"},
};

static void poke64(struct blk_image *img, uint32_t at, uint64_t v)
{
	memcpy(img->sys + at, &v, 8);
}

uint32_t blk_gpa(uint32_t off)
{
	for (size_t n = 0; n < ARRAY_SIZE(windows); n++)
		if (off - windows[n].off < windows[n].pages * 0x1000)
			return BLK_TEST + windows[n].gpa + (off - windows[n].off);
	return 0;
}

const char *blk_page_name(uint32_t gpa)
{
	static const char *const sys[BLK_SYS_PAGES] = {
		[1] = "pml4 A",	     [2] = "pml4 B",	   [3] = "pdpt",
		[4] = "pd",	     [5] = "pt user A",	   [6] = "pdpt",
		[7] = "pd",	     [8] = "pt user B",	   [9] = "pdpt",
		[10] = "pd",	     [11] = "pt kernel A", [12] = "pdpt",
		[13] = "pd",	     [14] = "pt kernel B", [15] = "pt system",
		[16] = "gdt",	     [17] = "idt",	   [18] = "tss",
		[19] = "stack rsp0", [20] = "stack ist1",  [21] = "stack ist2",
		[24] = "handlers",   [25] = "handlers",	   [26] = "mailbox",
	};

	if (gpa < BLK_TEST)
		return gpa >> 12 < BLK_SYS_PAGES && sys[gpa >> 12] ? sys[gpa >> 12] : "system";
	if (gpa - BLK_TEST - T_SUBS_B < 0x2000)
		return "subs B";
	for (size_t n = 0; n < ARRAY_SIZE(windows); n++)
		if (gpa - BLK_TEST - windows[n].gpa < windows[n].pages * 0x1000)
			return windows[n].name;
	return "spare";
}

/* --- memory ------------------------------------------------------------------------ */

/* Where window page @page of @w is in space B. */
static uint32_t gpa_in_b(const struct window *w, unsigned page)
{
	if (w->off == BLK_SUBS)
		return T_SUBS_B + page * 0x1000;
	if (w->off == BLK_DATA && page < 2)
		page ^= 1;
	return w->gpa + page * 0x1000;
}

/* Is a page of @w the same in both spaces, and never changed by blocks? */
static bool is_global(const struct window *w)
{
	return w->off != BLK_SUBS && w->off != BLK_DATA && w->off - BLK_DEMAND >= 0x4000;
}

static void map_windows(struct blk_image *img, uint32_t pt, bool user, bool space_b)
{
	for (size_t n = 0; n < ARRAY_SIZE(windows); n++) {
		const struct window *w = &windows[n];
		bool u = user != (w->off == BLK_OTHER);

		for (unsigned page = 0; page < w->pages; page++) {
			uint32_t gpa = space_b ? gpa_in_b(w, page) : w->gpa + page * 0x1000;
			uint64_t entry = (BLK_TEST + gpa) | w->attr | (u ? PT_U : 0) |
					 (!user && is_global(w) ? PT_G : 0);

			for (unsigned k = 0; k < (user ? BLK_PLACES : 1); k++)
				poke64(img,
				       pt + (((uint32_t)blk_place(k) + w->off) / 0x1000 + page) * 8,
				       entry);
		}
	}
}

static void build_space(struct blk_image *img, bool b)
{
	const uint64_t all = PT_P | PT_W | PT_U;
	uint32_t pml4 = b ? BLK_PML4_B : BLK_PML4_A, upt = b ? BLK_PT_USER_B : BLK_PT_USER_A;
	uint32_t updpt = b ? P_UPDPT_B : P_UPDPT_A, upd = b ? P_UPD_B : P_UPD_A;
	uint32_t kpdpt = b ? P_KPDPT_B : P_KPDPT_A, kpd = b ? P_KPD_B : P_KPD_A;
	uint32_t kpt = b ? BLK_PT_KERNEL_B : BLK_PT_KERNEL_A;

	for (unsigned k = 0; k < BLK_PLACES; k++)
		poke64(img, pml4 + k * 8, updpt | all);
	poke64(img, updpt, upd | all);
	poke64(img, upd + (BLK_U_BASE >> 21 & 511) * 8, upt | all);
	poke64(img, upd + ((BLK_U_BASE + BLK_BIG) >> 21 & 511) * 8, BLK_TEST | all | PT_PS);
	poke64(img, pml4 + 511 * 8, kpdpt | all);
	poke64(img, kpdpt + 510 * 8, kpd | all);
	poke64(img, kpd + (BLK_S_BASE >> 21 & 511) * 8, P_SYSPT | PT_P | PT_W);
	poke64(img, kpd + (BLK_K_BASE >> 21 & 511) * 8, kpt | all);
	poke64(img, kpd + ((BLK_K_BASE + BLK_BIG) >> 21 & 511) * 8, BLK_TEST | PT_P | PT_W | PT_PS);
	map_windows(img, upt, true, b);
	map_windows(img, kpt, false, b);
}

static void build_gdt(struct blk_image *img)
{
	static const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* BLK_SEL_CS0 */
		0x00cf93000000ffff, /* BLK_SEL_DS0 */
		0x00cffb000000ffff,
		0x00cff3000000ffff, /* BLK_SEL_DS3 */
		0x00affb000000ffff, /* BLK_SEL_CS3 */
	};
	uint64_t tss = BLK_S_BASE + P_TSS;

	memcpy(img->sys + P_GDT, gdt, sizeof(gdt));
	poke64(img, P_GDT + TSS_SEL,
	       0x00008b0000000067 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56);
	poke64(img, P_GDT + TSS_SEL + 8, tss >> 32);
}

static void build_idt(struct blk_image *img)
{
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = BLK_S_BASE + P_HANDLERS + v * 16;
		unsigned dpl = v == EXC_BP || v == EXC_OF || v == BLK_IRQ ? 3 : 0;
		unsigned ist = v == EXC_DF ? 1 : v == EXC_NMI ? 2 : 0;

		poke64(img, P_IDT + v * 16,
		       (to & 0xffff) | BLK_SEL_CS0 << 16 | (uint64_t)ist << 32 | 0x8e00ULL << 32 |
			       (uint64_t)dpl << 45 | (to & 0xffff0000) << 32);
		poke64(img, P_IDT + v * 16 + 8, to >> 32);
	}
}

void blk_image_init(struct blk_image *img)
{
	struct diff_rng r = {.s = 0xb10c};

	memset(img, 0, sizeof(*img));
	build_space(img, false);
	build_space(img, true);
	for (unsigned n = 0; n < BLK_SYS_PAGES; n++)
		poke64(img, P_SYSPT + n * 8, n << 12 | PT_P | PT_W);
	build_gdt(img);
	build_idt(img);
	poke64(img, P_TSS + 4, BLK_S_BASE + BLK_RSP0_TOP);
	poke64(img, P_TSS + 0x24, BLK_S_BASE + BLK_IST1_TOP);
	poke64(img, P_TSS + 0x2c, BLK_S_BASE + BLK_IST2_TOP);
	img->sys[P_TSS + 0x66] = 0x68; /* no I/O permission map: beyond the limit */
	memcpy(img->sys + P_HANDLERS, blk_handlers, (size_t)(blk_handlers_end - blk_handlers));
	for (unsigned n = 0; n < sizeof(img->test); n += 16)
		rng_vector(&r, img->test + n, 16);
}

void blk_image_place(struct blk_image *img, const struct blk_case *c)
{
	memcpy(img->test + T_CODE, c->code, sizeof(c->code));
	memcpy(img->test + T_SUBS_A, c->subs[0], sizeof(c->subs[0]));
	memcpy(img->test + T_SUBS_B, c->subs[1], sizeof(c->subs[1]));
	memset(img->test + T_VARS, 0, 0x1000);
	memcpy(img->test + T_VARS + BLK_TABLE, c->table, sizeof(c->table));
	blk_fill_mailbox(c, &c->in[0], (struct blk_mailbox *)(img->sys + BLK_MAILBOX));
}

/* --- registers ----------------------------------------------------------------------- */

static void set_segments(struct cpu_state *s, bool user)
{
	const uint16_t data = ATTR_P | ATTR_S | ATTR_W | ATTR_A | ATTR_DB | ATTR_G;
	const uint16_t code = ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A | ATTR_L | ATTR_G;

	for (unsigned n = 0; n < SEG_COUNT; n++)
		s->seg[n] = (struct cpu_seg){.limit = 0xffffffff,
					     .sel = user ? BLK_SEL_DS3 : BLK_SEL_DS0,
					     .attr = data | (user ? ATTR_DPL : 0)};
	s->seg[SEG_CS].sel = user ? BLK_SEL_CS3 : BLK_SEL_CS0;
	s->seg[SEG_CS].attr = code | (user ? ATTR_DPL : 0);
	s->seg[SEG_FS] = s->seg[SEG_GS] = (struct cpu_seg){0};
	s->tr = (struct cpu_seg){
		.base = BLK_S_BASE + P_TSS, .limit = 0x67, .sel = TSS_SEL, .attr = ATTR_P | 0xb};
	s->ldt = (struct cpu_seg){0};
	s->gdt = (struct cpu_dtr){.base = BLK_S_BASE + P_GDT, .limit = 0x3f};
	s->idt = (struct cpu_dtr){.base = BLK_S_BASE + P_IDT, .limit = 0xfff};
}

/* A breakpoint on code near the start, and one on data. */
static void set_breakpoints(const struct blk_case *c, struct cpu_state *s)
{
	const uint64_t code_is_exec = 0, write8 = 9ULL << 20, any4 = 15ULL << 24;

	if (!c->dr7)
		return;
	s->dr[0] = blk_base(c) + BLK_CODE + c->start + (c->dr_code ? 0 : 7);
	s->dr[1] = blk_base(c) + BLK_DATA + 0x1200;
	s->dr[2] = blk_base(c) + BLK_STACK + 0xc00;
	s->dr7 |= c->dr7 | code_is_exec | write8 | any4;
}

void blk_start_state(const struct blk_case *c, const struct blk_input *in, struct cpu_state *s)
{
	cpu_state_reset(s, true, false);
	set_segments(s, c->user);
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG | (c->wp ? CR0_WP : 0) |
		 (c->am ? CR0_AM : 0) | (c->ts ? CR0_TS : 0);
	s->cr3 = BLK_PML4_A;
	s->cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE |
		 CR4_DE | CR4_PSE | CR4_TSD | (c->smap ? CR4_SMAP : 0) | (c->pge ? CR4_PGE : 0);
	if (c->pcid)
		s->cr4 |= CR4_PCIDE;
	set_breakpoints(c, s);
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	s->star = (uint64_t)BLK_SEL_CS0 << 32 | (uint64_t)(BLK_SEL_DS3 - 8) << 48;
	s->lstar = BLK_S_BASE + P_HANDLERS + 0xff * 16;
	s->sfmask = FL_TF | FL_IF | FL_DF | FL_AC | FL_NT;
	s->kernel_gs_base = blk_base(c) + BLK_DATA + 0x1000;
	memcpy(s->gpr, in->gpr, sizeof(s->gpr));
	s->rip = blk_base(c) + BLK_CODE + c->start + blk_place(in->place);
	s->rflags = in->rflags;
	s->seg[SEG_FS].base = in->fsbase;
	s->seg[SEG_GS].base = in->gsbase;
	s->fx = in->fx;
	memset(s->fx.xmm, 0, sizeof(s->fx.xmm));
	memcpy(s->vec, in->vec, sizeof(s->vec));
}

void blk_fill_mailbox(const struct blk_case *c, const struct blk_input *in, struct blk_mailbox *m)
{
	uint64_t frame[5] = {
		blk_base(c) + BLK_CODE + c->start + blk_place(in->place),
		c->user ? BLK_SEL_CS3 : BLK_SEL_CS0,
		in->rflags,
		in->gpr[GPR_RSP],
		c->user ? BLK_SEL_DS3 : BLK_SEL_DS0,
	};
	struct cpu_fxsave fx = in->fx;

	memset(m, 0, sizeof(*m));
	memcpy(m->gpr, in->gpr, sizeof(m->gpr));
	memcpy(m->frame, frame, sizeof(frame));
	m->fsbase = in->fsbase;
	m->gsbase = in->gsbase;
	m->budget = in->budget;
	for (unsigned n = 0; n < 16; n++) {
		memcpy(fx.xmm[n], in->vec[n].b, 16);
		memcpy(m->xsave + 576 + n * 16, in->vec[n].b + 16, 16);
	}
	fx.mxcsr_mask = 0;
	memcpy(m->xsave, &fx, 464); /* the rest is for software */
	m->xsave[512] = 7;	    /* XSTATE_BV */
}

/* Everything the decoder knows but chance; it runs on the host's own units. */
void blk_model(struct cpu_model *m)
{
	*m = (struct cpu_model){.amd = true, .phys_bits = 40, .ncpus = 1, .features = ~0ULL};
	m->features &= ~(1ULL << FEAT_RDRAND | 1ULL << FEAT_RDSEED | 1ULL << FEAT_RDTSCP);
	strcpy(m->name, "blocks");
	strcpy(m->vendor, "AuthenticAMD");
}
