/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_soft.c - the engine's side: a guest that is nothing but one instruction.
 *
 * Long mode with the test pages at the same linear addresses as in the child, and a
 * copy of Linux's segment descriptors.  Every interrupt gate leads to its own HLT in
 * supervisor code, and so does a completed instruction: the tail page holds HLT, which
 * is #GP in ring 3.  After each case the frame on the supervisor stack tells the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cpu/engine.h"
#include "cpu/tests/diff.h"

enum { /* guest-physical layout */
       P_PML4 = 0x1000,
       P_PDPT = 0x2000,
       P_PD = 0x3000,
       P_PT = 0x4000,
       P_KPDPT = 0x5000,
       P_KPD = 0x6000,
       P_KPT = 0x7000,
       P_GDT = 0x8000,
       P_IDT = 0x9000,
       P_TSS = 0xa000,
       P_STACK = 0xb000,
       P_HANDLERS = 0xc000,
       P_LDT = 0xd000,
       P_CODE = 0x10000,
       P_TAIL = 0x12000,
       P_DATA = 0x14000,
       P_USTACK = 0x16000,
       P_RO = 0x18000,
       P_RAM = 0x200000,
};
enum {
	PT_P = 1,
	PT_W = 2,
	PT_U = 4,
	TSS_SEL = 0x40,
	LDT_SEL = 0x50,
	CS_KERNEL = 0x10,
	DS_KERNEL = 0x18
};
#define PT_NX  (1ULL << 63)
#define K_BASE 0xffff800000000000ULL /* the pages above, for the supervisor */

struct diff_soft { /* owner: the parent's thread */
	const struct engine_ops *ops;
	struct mem *mem;
	uint8_t *ram;
	struct cpu_model model;
	struct engine_vm *vm;
	struct engine_vcpu *vcpu;
	struct cpu_state start; /* ring 3, before a case's registers */
	struct diff_pages pages;
};

static void poke64(struct diff_soft *s, uint64_t at, uint64_t v)
{
	memcpy(s->ram + at, &v, 8);
}

static uint64_t peek64(const struct diff_soft *s, uint64_t at)
{
	uint64_t v;

	memcpy(&v, s->ram + at, 8);
	return v;
}

/* --- the guest's tables ------------------------------------------------------------- */

/* All user pages are in the 2 MiB from DIFF_CODE on: one page table. */
static void map_user(struct diff_soft *s, uint32_t lin, uint64_t gpa, unsigned pages, uint64_t attr)
{
	for (unsigned n = 0; n < pages; n++)
		poke64(s, P_PT + ((lin >> 12) + n) % 512 * 8,
		       (gpa + n * 0x1000) | PT_P | PT_U | attr);
}

static void build_paging(struct diff_soft *s)
{
	poke64(s, P_PML4, P_PDPT | PT_P | PT_W | PT_U);
	poke64(s, P_PDPT, P_PD | PT_P | PT_W | PT_U);
	poke64(s, P_PD + (DIFF_CODE >> 21) * 8, P_PT | PT_P | PT_W | PT_U);
	map_user(s, DIFF_CODE, P_CODE, 2, 0);
	map_user(s, DIFF_TAIL, P_TAIL, 1, 0);
	map_user(s, DIFF_DATA, P_DATA, 2, PT_W | PT_NX);
	map_user(s, DIFF_STACK, P_USTACK, 2, PT_W | PT_NX);
	map_user(s, DIFF_RO, P_RO, 1, PT_NX);
	poke64(s, P_PML4 + 256 * 8, P_KPDPT | PT_P | PT_W);
	poke64(s, P_KPDPT, P_KPD | PT_P | PT_W);
	poke64(s, P_KPD, P_KPT | PT_P | PT_W);
	for (unsigned n = 0; n < 16; n++)
		poke64(s, P_KPT + n * 8, n << 12 | PT_P | PT_W);
}

static void build_tables(struct diff_soft *s)
{
	static const uint64_t gdt[] = {
		/* as Linux has it from entry 1 on */
		0,
		0x00cf9b000000ffff,
		0x00af9b000000ffff,
		0x00cf93000000ffff,
		0x00cffb000000ffff,
		0x00cff3000000ffff,
		0x00affb000000ffff,
		0,
	};
	uint64_t tss = K_BASE + P_TSS;
	uint32_t cpunode = diff_native_cpunode_limit();

	memcpy(s->ram + P_GDT, gdt, sizeof(gdt));
	poke64(s, P_GDT + TSS_SEL,
	       0x00008b0000000067 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56);
	poke64(s, P_GDT + TSS_SEL + 8, tss >> 32);
	poke64(s, P_GDT + (DIFF_CPUNODE & ~7),
	       0x0040f50000000000 | (cpunode & 0xffff) | (uint64_t)(cpunode >> 16) << 48);
	poke64(s, P_LDT,
	       0x0000fb000000ffff | (uint64_t)(DIFF_CODE & 0xffffff) << 16 |
		       (uint64_t)(DIFF_CODE >> 24) << 56);
	poke64(s, P_LDT + 8,
	       0x0000f3000000ffff | (uint64_t)(DIFF_BASE16 & 0xffffff) << 16 |
		       (uint64_t)(DIFF_BASE16 >> 24) << 56);
	poke64(s, P_TSS + 4, K_BASE + P_STACK + 0x1000); /* RSP0 */
	s->ram[P_TSS + 0x66] = 0xff;			 /* no I/O permission map */
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = K_BASE + P_HANDLERS + v * 16;
		unsigned dpl = v == EXC_BP || v == EXC_OF ? 3 : 0;

		s->ram[P_HANDLERS + v * 16] = 0xf4;
		poke64(s, P_IDT + v * 16,
		       (to & 0xffff) | CS_KERNEL << 16 | 0x8e00ULL << 32 | (uint64_t)dpl << 45 |
			       (to & 0xffff0000) << 32);
		poke64(s, P_IDT + v * 16 + 8, to >> 32);
	}
}

static void fill_pages(struct diff_soft *s)
{
	static const uint32_t at[WIN_COUNT] = {P_DATA, P_USTACK};

	s->pages.code = s->ram + P_CODE;
	memset(s->ram + P_CODE, 0xcc, DIFF_CODE_SIZE);
	memset(s->ram + P_TAIL, 0xf4, 0x1000);
	diff_fill_window(WIN_COUNT, s->ram + P_RO, 0x1000);
	for (unsigned w = 0; w < WIN_COUNT; w++) {
		s->pages.win[w] = s->ram + at[w];
		diff_fill_window(w, s->pages.win[w], DIFF_WIN_SIZE);
		s->pages.pristine[w] = s->ram + 0x100000 + w * DIFF_WIN_SIZE;
		memcpy(s->ram + 0x100000 + w * DIFF_WIN_SIZE, s->pages.win[w], DIFF_WIN_SIZE);
	}
}

static struct cpu_seg user_data(void)
{
	return (struct cpu_seg){.limit = 0xffffffff,
				.sel = DIFF_DS,
				.attr = ATTR_P | ATTR_S | ATTR_W | ATTR_A | ATTR_DPL | ATTR_DB |
					ATTR_G};
}

static void build_start(struct diff_soft *s)
{
	struct cpu_state *st = &s->start;

	cpu_state_reset(st, true, false);
	st->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	st->cr3 = P_PML4;
	st->cr4 = CR4_PAE | CR4_PGE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE |
		  CR4_OSXSAVE | CR4_DE | CR4_PSE;
	st->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	st->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	for (unsigned n = 0; n < SEG_COUNT; n++)
		st->seg[n] = user_data();
	/* FS and GS are null, as in the child */
	st->seg[SEG_FS] = st->seg[SEG_GS] = (struct cpu_seg){0};
	st->tr = (struct cpu_seg){
		.base = K_BASE + P_TSS, .limit = 0x67, .sel = TSS_SEL, .attr = ATTR_P | 0xb};
	st->ldt = (struct cpu_seg){
		.base = K_BASE + P_LDT, .limit = 15, .sel = LDT_SEL, .attr = ATTR_P | 2};
	st->gdt.base = K_BASE + P_GDT;
	st->gdt.limit = 0x7f;
	st->idt.base = K_BASE + P_IDT;
	st->idt.limit = 0xfff;
}

/* --- one case ---------------------------------------------------------------------------- */

static struct cpu_seg code_segment(enum x86_mode mode)
{
	static const struct cpu_seg segs[] = {
		[MODE_16] = {DIFF_CODE, 0xffff, DIFF_CS16, 0},
		[MODE_32] = {0, 0xffffffff, DIFF_CS32, ATTR_G | ATTR_DB},
		[MODE_64] = {0, 0xffffffff, DIFF_CS64, ATTR_G | ATTR_L},
	};
	struct cpu_seg cs = segs[mode];

	cs.attr |= ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A | ATTR_DPL;
	return cs;
}

/* Data, extra and stack segment of 16-bit code. */
static void set_data16(struct cpu_state *st)
{
	static const uint8_t segs[] = {SEG_DS, SEG_ES, SEG_SS};

	for (unsigned n = 0; n < ARRAY_SIZE(segs); n++)
		st->seg[segs[n]] = (struct cpu_seg){DIFF_BASE16, 0xffff, DIFF_DS16,
						    ATTR_P | ATTR_S | ATTR_W | ATTR_A | ATTR_DPL};
}

static void state_of(const struct diff_soft *s, const struct diff_case *c, struct cpu_state *st)
{
	*st = s->start;
	memcpy(st->gpr, c->gpr, sizeof(st->gpr));
	st->rip = c->code_at - diff_seg_base(c, SEG_CS);
	st->rflags = c->rflags;
	st->seg[SEG_CS] = code_segment((enum x86_mode)c->mode);
	if (c->mode == MODE_16)
		set_data16(st);
	st->seg[SEG_FS].base = c->fsbase;
	st->seg[SEG_GS].base = c->gsbase;
	st->fx = c->fx;
	for (unsigned n = 0; n < 16; n++) {
		memcpy(st->vec[n].b, c->fx.xmm[n], 16);
		memcpy(st->vec[n].b + 16, c->ymmh[n], 16);
	}
}

static void result_from(const struct cpu_state *st, struct diff_result *r)
{
	memcpy(r->gpr, st->gpr, sizeof(r->gpr));
	r->fx = st->fx;
	for (unsigned n = 0; n < 16; n++) {
		memcpy(r->fx.xmm[n], st->vec[n].b, 16);
		memcpy(r->ymmh[n], st->vec[n].b + 16, 16);
	}
	r->ds = st->seg[SEG_DS].sel;
	r->es = st->seg[SEG_ES].sel;
	r->fs = st->seg[SEG_FS].sel;
	r->gs = st->seg[SEG_GS].sel;
	r->fsbase = st->seg[SEG_FS].base;
	r->gsbase = st->seg[SEG_GS].base;
}

/* The frame that delivery pushed, at the top of the supervisor stack. */
static int read_frame(const struct diff_soft *s, const struct diff_case *c,
		      const struct cpu_state *st, struct diff_result *r)
{
	uint64_t handler = st->rip - 1 - (K_BASE + P_HANDLERS), at = P_STACK + 0x1000 - 40;
	uint32_t tail = c->mode == MODE_32 ? DIFF_TAIL32 : DIFF_TAIL;
	bool has_error = st->gpr[GPR_RSP] == K_BASE + P_STACK + 0x1000 - 48;

	if (handler % 16 || handler / 16 > 255)
		return -EIO;
	r->vector = (int32_t)(handler / 16);
	r->error = has_error ? (uint32_t)peek64(s, at - 8) : 0;
	r->cr2 = r->vector == EXC_PF ? st->cr2 : 0;
	r->rip = peek64(s, at);
	r->cs = (uint16_t)peek64(s, at + 8);
	r->rflags = peek64(s, at + 16);
	r->gpr[GPR_RSP] = peek64(s, at + 24);
	r->ss = (uint16_t)peek64(s, at + 32);
	if (r->vector != EXC_GP || r->rip != tail || r->error)
		return 0;
	r->vector = VEC_NONE; /* HLT on the tail page: it ran to its end */
	r->rip = c->code_at - diff_seg_base(c, SEG_CS) + c->nbytes;
	r->cs = code_segment((enum x86_mode)c->mode).sel;
	r->rflags &= ~(uint64_t)FL_RF;
	return 0;
}

/* Code was put there behind the engine's back: write it again so that it takes notice. */
static int announce_code(struct diff_soft *s)
{
	uint8_t copy[DIFF_CODE_SIZE];

	memcpy(copy, s->pages.code, sizeof(copy));
	return mem_write(s->mem, P_CODE, copy, sizeof(copy));
}

int diff_soft_run(struct diff_soft *s, const struct diff_case *c, struct diff_result *r)
{
	struct engine_exit exit = {0};
	struct errbuf err = {0};
	struct cpu_state st;
	int ret;

	*r = (struct diff_result){0};
	diff_place(&s->pages, c);
	state_of(s, c, &st);
	ret = announce_code(s);
	if (ret)
		return ret;
	ret = s->ops->set_state(s->vcpu, &st, &err);
	if (ret) {
		fprintf(stderr, "diff-cpu: set_state: %s\n", err.msg);
		return ret;
	}
	ret = s->ops->run(s->vcpu, &exit);
	if (!ret)
		ret = s->ops->get_state(s->vcpu, &st);
	if (ret)
		return ret;
	result_from(&st, r);
	ret = exit.reason == EXIT_HLT ? read_frame(s, c, &st, r) : -EIO;
	if (ret)
		fprintf(stderr, "diff-cpu: engine left with reason %d, rip %#lx %s\n", exit.reason,
			(unsigned long)st.rip, exit.error);
	diff_collect(&s->pages, c, r);
	return ret;
}

/* --- life cycle ------------------------------------------------------------------------------ */

/* Everything the decoder knows; it runs on the host's own units. */
static void build_model(struct cpu_model *m)
{
	*m = (struct cpu_model){.amd = true, .phys_bits = 40, .ncpus = 1, .features = ~0ULL};
	strcpy(m->name, "diff");
	strcpy(m->vendor, "AuthenticAMD");
}

int diff_soft_new(const struct engine_ops *ops, struct diff_soft **out)
{
	struct diff_soft *s = calloc(1, sizeof(*s));
	struct engine_vm_config cfg = {.ncpus = 1};
	struct errbuf err = {0};
	int ret = s ? mem_new(&s->mem) : -ENOMEM;

	if (!ret)
		ret = mem_add_ram(s->mem, "ram", 0, P_RAM, &err);
	if (ret)
		goto out;
	s->ops = ops;
	s->ram = mem_ptr(s->mem, 0, P_RAM);
	build_model(&s->model);
	cfg.mem = s->mem;
	cfg.model = &s->model;
	ret = s->ops->vm_new(&cfg, &s->vm, &err);
	if (!ret)
		ret = s->ops->vcpu_new(s->vm, 0, &s->vcpu, &err);
	if (ret)
		goto out;
	build_paging(s);
	build_tables(s);
	fill_pages(s);
	build_start(s);
	*out = s;
	return 0;
out:
	fprintf(stderr, "diff-cpu: engine: %s\n", err.msg);
	diff_soft_free(s);
	return ret;
}

void diff_soft_free(struct diff_soft *s)
{
	if (!s)
		return;
	if (s->vcpu)
		s->ops->vcpu_free(s->vcpu);
	if (s->vm)
		s->ops->vm_free(s->vm);
	mem_free(s->mem);
	free(s);
}
