/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_sys_ctl.c - control and debug registers, and TLB invalidation.
 *
 * A control register is checked as a whole against the others, written, and then
 * what depends on it follows: EFER.LMA, the PDPTEs of PAE paging (which can still
 * refuse: the old values come back), TLB and mode.  The software TLB has no PCID
 * tags: it holds the current PCID's translations, and a write of CR3 empties it of
 * all but global ones.  Intel SDM vol. 2, MOV CR, MOV DR; vol. 3A, 2.5, 4.10.
 */
#include "cpu/x86/sys.h"

enum {
	CR0_VALID = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM,
	PCID_MASK = 0xfff,
};
#define CR0_BITS       (CR0_VALID | CR0_NW | CR0_CD | (uint64_t)CR0_PG)
#define CR3_NOFLUSH    BIT(63)
#define DR6_FIXED      0xffff0ff0ULL
#define DR6_WRITABLE   0xe00fULL
#define DR7_WRITABLE   0xffff23ffULL
#define DR7_FIXED      0x400ULL
#define DR6_BD	       0x2000ULL
#define DR7_GD	       0x2000ULL
#define PDPTE_CR0_BITS (CR0_CD | CR0_NW | (uint64_t)CR0_PG)
#define PDPTE_CR4_BITS (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)

static unsigned mov_size(const struct vcpu *c)
{
	return c->mode == MODE_64 ? 8 : 4;
}

/* --- CR0 ------------------------------------------------------------------------ */

/* Enter long mode? */
static bool activates(const struct vcpu *c, uint64_t cr0)
{
	return cr0 & CR0_PG && !(c->s.cr0 & CR0_PG) && c->s.efer & EFER_LME;
}

static void cr0_check(struct vcpu *c, uint64_t val)
{
	bool bad =
		val >> 32 || (val & CR0_PG && !(val & CR0_PE)) || (val & CR0_NW && !(val & CR0_CD));

	if (activates(c, val))
		bad |= !(c->s.cr4 & CR4_PAE) || c->s.seg[SEG_CS].attr & ATTR_L ||
		       (c->s.tr.attr & ATTR_P && !(c->s.tr.attr & TYPE_32));
	if (!(val & CR0_PG) && c->s.cr0 & CR0_PG)
		bad |= c->mode == MODE_64 || c->s.cr4 & CR4_PCIDE;
	if (bad)
		raise_gp(c, 0);
}

static void cr0_write(struct vcpu *c, uint64_t val)
{
	uint64_t old = c->s.cr0, efer = c->s.efer;

	cr0_check(c, val);
	val = (val & CR0_BITS) | CR0_ET;
	if (activates(c, val))
		c->s.efer |= EFER_LMA;
	else if (!(val & CR0_PG))
		c->s.efer &= ~(uint64_t)EFER_LMA;
	c->s.cr0 = val;
	if ((old ^ val) & PDPTE_CR0_BITS && mmu_load_pdptrs(c)) {
		c->s.cr0 = old;
		c->s.efer = efer;
		raise_gp(c, 0);
	}
	vcpu_update_mode(c);
}

/* --- CR3 -------------------------------------------------------------------------- */

static void cr3_write(struct vcpu *c, uint64_t val)
{
	uint64_t old = c->s.cr3, valid = c->long_mode ? BIT(c->model->phys_bits) - 1 : 0xffffffff;
	bool keep = c->s.cr4 & CR4_PCIDE && val & CR3_NOFLUSH;

	if (keep)
		val &= ~CR3_NOFLUSH;
	if (val & ~valid)
		raise_gp(c, 0);
	c->s.cr3 = val;
	if (mmu_load_pdptrs(c)) {
		c->s.cr3 = old;
		raise_gp(c, 0);
	}
	if (!keep || (old ^ val) & PCID_MASK)
		tlb_flush_nonglobal(c);
}

/* --- CR4 ----------------------------------------------------------------------------- */

uint64_t cr4_valid_bits(const struct cpu_model *m)
{
	static const struct {
		uint32_t bit;
		uint8_t feature;
	} optional[] = {
		{CR4_UMIP, FEAT_UMIP},	   {CR4_FSGSBASE, FEAT_FSGSBASE}, {CR4_PCIDE, FEAT_PCID},
		{CR4_OSXSAVE, FEAT_XSAVE}, {CR4_SMEP, FEAT_SMEP},	  {CR4_SMAP, FEAT_SMAP},
	};
	uint64_t ok = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
		      CR4_OSFXSR | CR4_OSXMMEXCPT;

	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++)
		if (cpu_has(m, optional[i].feature))
			ok |= optional[i].bit;
	return ok;
}

static void cr4_write(struct vcpu *c, uint64_t val)
{
	uint64_t old = c->s.cr4, on = val & ~old;
	bool bad = val & ~cr4_valid_bits(c->model);

	bad |= c->long_mode && !(val & CR4_PAE);
	bad |= on & CR4_PCIDE && (!c->long_mode || c->s.cr3 & PCID_MASK);
	if (bad)
		raise_gp(c, 0);
	c->s.cr4 = val;
	if ((old ^ val) & PDPTE_CR4_BITS && mmu_load_pdptrs(c)) {
		c->s.cr4 = old;
		raise_gp(c, 0);
	}
	vcpu_update_mode(c);
}

/* --- MOV CR, CLTS, SMSW, LMSW ------------------------------------------------------------ */

void op_mov_r_cr(struct vcpu *c, const struct insn *i)
{
	uint64_t v = 0;

	if (i->reg != 0 && !(i->reg >= 2 && i->reg <= 4) && i->reg != 8)
		raise_ud(c);
	need_cpl0(c);
	switch (i->reg) {
	case 0: v = c->s.cr0; break;
	case 2: v = c->s.cr2; break;
	case 3: v = c->s.cr3; break;
	case 4: v = c->s.cr4; break;
	default: ext_access(c, EXIT_CR8, 0, 8, false, &v, NULL); break;
	}
	gpr_set(c, i->rm, mov_size(c), v);
}

static void cr8_write(struct vcpu *c, uint64_t val)
{
	if (val > 15)
		raise_gp(c, 0);
	ext_access(c, EXIT_CR8, 0, 8, true, &val, NULL);
	c->s.cr8 = val;
}

void op_mov_cr_r(struct vcpu *c, const struct insn *i)
{
	uint64_t v = gpr_get(c, i->rm, mov_size(c));

	if (i->reg != 0 && !(i->reg >= 2 && i->reg <= 4) && i->reg != 8)
		raise_ud(c);
	need_cpl0(c);
	switch (i->reg) {
	case 0: cr0_write(c, v); break;
	case 2: c->s.cr2 = v; break;
	case 3: cr3_write(c, v); break;
	case 4: cr4_write(c, v); break;
	default: cr8_write(c, v); break;
	}
}

void op_clts(struct vcpu *c, const struct insn *i)
{
	need_cpl0(c);
	c->s.cr0 &= ~(uint64_t)CR0_TS;
}

void op_smsw(struct vcpu *c, const struct insn *i)
{
	if (c->s.cr4 & CR4_UMIP && c->cpl)
		raise_gp(c, 0);
	if (i->flags & INSN_MEM)
		lin_store(c, insn_lin(c, i, 2, ACCESS_WRITE), 2, c->s.cr0);
	else
		gpr_set(c, i->rm, i->opsize, c->s.cr0);
}

/* Sets the low four bits, and cannot leave protected mode. */
void op_lmsw(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	need_cpl0(c);
	v = i->flags & INSN_MEM ? lin_load(c, insn_lin(c, i, 2, ACCESS_READ), 2) : c->s.gpr[i->rm];
	cr0_write(c, (c->s.cr0 & ~0xeULL) | (v & 0xf));
}

/* --- debug registers ------------------------------------------------------------------------ */

/* Number of the register after aliasing: 0..3, 6, 7.  Raises as every MOV DR does. */
static unsigned dr_open(struct vcpu *c, unsigned n)
{
	need_cpl0(c);
	if (n > 7 || ((n == 4 || n == 5) && c->s.cr4 & CR4_DE))
		raise_ud(c);
	if (c->s.dr7 & DR7_GD) {
		c->s.dr6 |= DR6_BD;
		raise_exc(c, EXC_DB);
	}
	return n == 4 || n == 5 ? n + 2 : n;
}

void op_mov_r_dr(struct vcpu *c, const struct insn *i)
{
	unsigned n = dr_open(c, i->reg);

	gpr_set(c, i->rm, mov_size(c), n < 4 ? c->s.dr[n] : n == 6 ? c->s.dr6 : c->s.dr7);
}

void op_mov_dr_r(struct vcpu *c, const struct insn *i)
{
	uint64_t v = gpr_get(c, i->rm, mov_size(c));
	unsigned n = dr_open(c, i->reg);

	if (n >= 6 && v >> 32)
		raise_gp(c, 0);
	if (n < 4)
		c->s.dr[n] = v;
	else if (n == 6)
		c->s.dr6 = (v & DR6_WRITABLE) | DR6_FIXED;
	else
		c->s.dr7 = (v & DR7_WRITABLE) | DR7_FIXED;
	if (n != 6)
		vcpu_debug_changed(c);
}

/* --- TLB ---------------------------------------------------------------------------------------
 */

/* A non-canonical address is no error. */
void op_invlpg(struct vcpu *c, const struct insn *i)
{
	need_cpl0(c);
	tlb_flush_page(c, (insn_ea(c, i) + c->s.seg[i->seg].base) & c->addr_mask);
}

enum { INVPCID_ADDR, INVPCID_ONE, INVPCID_ALL_GLOBAL, INVPCID_ALL };

struct invpcid_desc {
	uint64_t pcid, addr;
};

void op_invpcid(struct vcpu *c, const struct insn *i)
{
	uint64_t type = gpr_get(c, i->reg, mov_size(c));
	struct invpcid_desc d;
	bool mine;

	need_cpl0(c);
	lin_load_slow(c, insn_lin(c, i, sizeof(d), ACCESS_READ), &d, sizeof(d));
	if (type > INVPCID_ALL || d.pcid > PCID_MASK ||
	    (type <= INVPCID_ONE && d.pcid && !(c->s.cr4 & CR4_PCIDE)) ||
	    (type == INVPCID_ADDR && !is_canonical(d.addr)))
		raise_gp(c, 0);
	mine = !(c->s.cr4 & CR4_PCIDE) || d.pcid == (c->s.cr3 & PCID_MASK);
	if (type == INVPCID_ALL_GLOBAL)
		tlb_flush_all(c);
	else if (type == INVPCID_ALL || (type == INVPCID_ONE && mine))
		tlb_flush_nonglobal(c);
	else if (type == INVPCID_ADDR && mine)
		tlb_flush_page(c, d.addr);
}
