/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr.c - RDMSR and WRMSR.
 *
 * Registers held in cpu_state are answered here: plain ones from a table of where they
 * are and which values they take, those with effects by a function each.  What only
 * one vendor has exists only on that vendor's models.  The rest leaves the engine; the
 * machine knows the APIC's and the paravirtual ones and refuses what nobody knows.
 * Intel SDM vol. 4, chapter 2; AMD BIOS and Kernel Developer's Guide for C001_xxxx.
 */
#include "cpu/x86/sys.h"

enum {
	MSR_TSC = 0x10,
	MSR_PLATFORM_ID = 0x17,
	MSR_APIC_BASE = 0x1b,
	MSR_TSC_ADJUST = 0x3b,
	MSR_BIOS_SIGN = 0x8b,
	MSR_MTRR_CAP = 0xfe,
	MSR_ARCH_CAPS = 0x10a,
	MSR_MCG_CAP = 0x179,
	MSR_DEBUGCTL = 0x1d9,
	MSR_MTRR_VAR0 = 0x200,
	MSR_XSS = 0xda0,
};
#define MSR_EFER    0xc0000080U
#define MSR_FS_BASE 0xc0000100U
#define MSR_GS_BASE 0xc0000101U
#define MSR_SYSCFG  0xc0010010U
#define MSR_HWCR    0xc0010015U
#define MSR_NB_CFG  0xc001001fU
#define MSR_DE_CFG  0xc0011029U

/* --- plain registers --------------------------------------------------------------- */

enum rule {
	ANY,
	CANONICAL,
	LOW32,
	PAT,	  /* eight memory types */
	MTRR_FIX, /* eight memory types without UC- */
	MTRR_DEF,
	MCG,
};

struct plain {
	uint32_t msr;
	uint16_t offset; /* in struct cpu_state */
	uint8_t rule;
	uint8_t feature;
	bool intel; /* on Intel's models only */
};

#define F(msr, field, ...)                                          \
	{                                                           \
		msr, offsetof(struct cpu_state, field), __VA_ARGS__ \
	}
static const struct plain plain[] = {
	F(0xc0000102, kernel_gs_base, CANONICAL),
	F(0x174, sysenter_cs, LOW32),
	F(0x175, sysenter_esp, CANONICAL),
	F(0x176, sysenter_eip, CANONICAL),
	F(0x17a, mcg_status, MCG),
	F(0x1a0, misc_enable, ANY, FEAT_BASE, true),
	F(0x250, mtrr_fix[0], MTRR_FIX),
	F(0x258, mtrr_fix[1], MTRR_FIX),
	F(0x259, mtrr_fix[2], MTRR_FIX),
	F(0x268, mtrr_fix[3], MTRR_FIX),
	F(0x269, mtrr_fix[4], MTRR_FIX),
	F(0x26a, mtrr_fix[5], MTRR_FIX),
	F(0x26b, mtrr_fix[6], MTRR_FIX),
	F(0x26c, mtrr_fix[7], MTRR_FIX),
	F(0x26d, mtrr_fix[8], MTRR_FIX),
	F(0x26e, mtrr_fix[9], MTRR_FIX),
	F(0x26f, mtrr_fix[10], MTRR_FIX),
	F(0x277, pat, PAT),
	F(0x2ff, mtrr_def_type, MTRR_DEF),
	F(0xc0000081, star, ANY),
	F(0xc0000082, lstar, CANONICAL),
	F(0xc0000083, cstar, CANONICAL),
	F(0xc0000084, sfmask, LOW32),
	F(0xc0000103, tsc_aux, LOW32, FEAT_RDTSCP),
};

static const struct plain *find_plain(const struct vcpu *c, uint32_t msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		const struct plain *p = &plain[i];

		if (p->msr != msr)
			continue;
		if ((p->intel && c->model->amd) ||
		    (p->feature != FEAT_BASE && !cpu_has(c->model, p->feature)))
			return NULL;
		return p;
	}
	return NULL;
}

/* Is each byte of @v a memory type out of @types (bits)? */
static bool types_ok(uint64_t v, unsigned types)
{
	for (unsigned i = 0; i < 8; i++, v >>= 8)
		if ((v & 0xff) > 7 || !(types >> (v & 7) & 1))
			return false;
	return true;
}

enum { PAT_TYPES = 0xf3, MTRR_TYPES = 0x73 };

static bool allowed(enum rule rule, uint64_t v)
{
	switch (rule) {
	case CANONICAL: return is_canonical(v);
	case LOW32: return !(v >> 32);
	case PAT: return types_ok(v, PAT_TYPES);
	case MTRR_FIX: return types_ok(v, MTRR_TYPES);
	case MTRR_DEF: return !(v & ~0xcffULL) && types_ok(v & 0xff, MTRR_TYPES);
	case MCG: return !(v & ~7ULL);
	case ANY: break;
	}
	return true;
}

/* --- variable MTRRs --------------------------------------------------------------------- */

static uint64_t *mtrr_var(struct vcpu *c, uint32_t msr)
{
	unsigned n = (msr - MSR_MTRR_VAR0) / 2;

	if (msr < MSR_MTRR_VAR0 || n >= CPU_MTRR_VAR)
		return NULL;
	return msr & 1 ? &c->s.mtrr_mask[n] : &c->s.mtrr_base[n];
}

static void mtrr_write(struct vcpu *c, uint32_t msr, uint64_t *reg, uint64_t val)
{
	uint64_t addr = (BIT(c->model->phys_bits) - 1) & ~0xfffULL;
	bool mask = msr & 1;

	if (val & ~(addr | (mask ? 0x800 : 0xff)) || (!mask && !types_ok(val & 0xff, MTRR_TYPES)))
		raise_gp(c, 0);
	*reg = val;
}

/* --- registers with effects ------------------------------------------------------------------ */

static void efer_write(struct vcpu *c, uint64_t val)
{
	uint64_t known = EFER_SCE | EFER_LME | EFER_LMA;

	if (cpu_has(c->model, FEAT_NX))
		known |= EFER_NXE;
	if (val & ~known || ((val ^ c->s.efer) & EFER_LME && c->s.cr0 & CR0_PG))
		raise_gp(c, 0);
	c->s.efer = (val & ~(uint64_t)EFER_LMA) | (c->s.efer & EFER_LMA);
	vcpu_update_mode(c);
}

/* Time moves for this vCPU, and TSC_ADJUST tells by how much in all. */
static void tsc_shift(struct vcpu *c, uint64_t delta)
{
	c->s.tsc_offset += delta;
	c->s.tsc_adjust += delta;
}

static void base_write(struct vcpu *c, enum cpu_seg_id seg, uint64_t val)
{
	if (!is_canonical(val))
		raise_gp(c, 0);
	c->s.seg[seg].base = val;
}

/* Reserved bits, or states, that the software CPU does not have. */
static void need_zero(struct vcpu *c, uint64_t bits)
{
	if (bits)
		raise_gp(c, 0);
}

/* --- constants ------------------------------------------------------------------------------- */

/*
 * Nothing of the guest runs ahead of itself here, so no speculation leaks: RDCL_NO,
 * SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
 * FBSDP_NO, PSDP_NO, BHI_NO, GDS_NO, RFDS_NO.
 */
#define ARCH_CAPS                                                                            \
	(BIT(0) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | \
	 BIT(20) | BIT(26) | BIT(27))

struct constant {
	uint32_t msr;
	enum { BOTH, INTEL, AMD } vendor;
	uint64_t value;
	uint64_t ignored; /* bits that may be written, without effect */
};

static const struct constant constants[] = {
	{MSR_PLATFORM_ID, INTEL, 0, 0},
	{MSR_BIOS_SIGN, INTEL, BIT(32), ~0ULL}, /* microcode revision 1 */
	{MSR_BIOS_SIGN, AMD, 0x1000065, 0},
	{MSR_MTRR_CAP, BOTH, CPU_MTRR_VAR | BIT(8) | BIT(10), 0}, /* fixed ones, WC */
	{MSR_ARCH_CAPS, INTEL, ARCH_CAPS, 0},
	{MSR_MCG_CAP, BOTH, 0, 0},  /* no banks */
	{MSR_DEBUGCTL, BOTH, 0, 3}, /* LBR, BTF: no branch is recorded, a step is an instruction */
	{MSR_SYSCFG, AMD, 0, ~0ULL},
	{MSR_NB_CFG, AMD, 0, ~0ULL},
	{MSR_HWCR, AMD, BIT(24), ~0ULL},  /* the TSC counts at P0's frequency */
	{MSR_DE_CFG, AMD, BIT(1), ~0ULL}, /* LFENCE serialises */
};

static const struct constant *find_constant(const struct vcpu *c, uint32_t msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(constants); i++) {
		const struct constant *k = &constants[i];

		if (k->msr == msr && (k->vendor == BOTH || (k->vendor == AMD) == c->model->amd))
			return k;
	}
	return NULL;
}

/* --- entry ------------------------------------------------------------------------------------ */

static void read_outside(struct vcpu *c, uint32_t msr, uint64_t *val)
{
	bool fail = false;

	ext_access(c, EXIT_RDMSR, msr, 8, false, val, &fail);
	if (fail)
		raise_gp(c, 0);
}

static void write_outside(struct vcpu *c, uint32_t msr, uint64_t val)
{
	bool fail = false;

	ext_access(c, EXIT_WRMSR, msr, 8, true, &val, &fail);
	if (fail)
		raise_gp(c, 0);
	if (msr == MSR_APIC_BASE)
		c->s.apic_base = val;
}

static bool read_other(struct vcpu *c, uint32_t msr, uint64_t *val)
{
	const struct constant *k = find_constant(c, msr);
	const uint64_t *reg = mtrr_var(c, msr);

	if (k)
		*val = k->value;
	else if (reg)
		*val = *reg;
	return k || reg;
}

void msr_read(struct vcpu *c, uint32_t msr, uint64_t *val)
{
	const struct plain *p = find_plain(c, msr);

	*val = 0;
	if (p) {
		*val = *(const uint64_t *)((const char *)&c->s + p->offset);
		return;
	}
	switch (msr) {
	case MSR_TSC: *val = guest_tsc(c); return;
	case MSR_TSC_ADJUST: *val = c->s.tsc_adjust; return;
	case MSR_EFER: *val = c->s.efer; return;
	case MSR_FS_BASE: *val = c->s.seg[SEG_FS].base; return;
	case MSR_GS_BASE: *val = c->s.seg[SEG_GS].base; return;
	case MSR_XSS:
		if (!cpu_has(c->model, FEAT_XSAVES))
			raise_gp(c, 0);
		*val = c->s.xss;
		return;
	default: break;
	}
	if (!read_other(c, msr, val))
		read_outside(c, msr, val);
}

static bool write_other(struct vcpu *c, uint32_t msr, uint64_t val)
{
	const struct constant *k = find_constant(c, msr);
	uint64_t *reg = mtrr_var(c, msr);

	if (k && !k->ignored)
		raise_gp(c, 0);
	if (k)
		need_zero(c, val & ~(k->ignored | k->value));
	else if (reg)
		mtrr_write(c, msr, reg, val);
	return k || reg;
}

void msr_write(struct vcpu *c, uint32_t msr, uint64_t val)
{
	const struct plain *p = find_plain(c, msr);

	if (p) {
		if (!allowed(p->rule, val))
			raise_gp(c, 0);
		*(uint64_t *)((char *)&c->s + p->offset) = val;
		return;
	}
	switch (msr) {
	case MSR_TSC: tsc_shift(c, val - guest_tsc(c)); return;
	case MSR_TSC_ADJUST: tsc_shift(c, val - c->s.tsc_adjust); return;
	case MSR_EFER: efer_write(c, val); return;
	case MSR_FS_BASE: base_write(c, SEG_FS, val); return;
	case MSR_GS_BASE: base_write(c, SEG_GS, val); return;
	case MSR_XSS: need_zero(c, val | !cpu_has(c->model, FEAT_XSAVES)); return;
	default: break;
	}
	if (!write_other(c, msr, val))
		write_outside(c, msr, val);
}
