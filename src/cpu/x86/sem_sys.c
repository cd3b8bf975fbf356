/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_sys.c - ports, flags, and the system instructions that are a few lines each;
 * and the table by which decoded instructions find their handlers.
 */
#include <immintrin.h>

#include "cpu/x86/sys.h"

/* --- ports ------------------------------------------------------------------------ */

enum { TSS_IOMAP = 102, DR_IO = 2 };

/* May code that IOPL does not trust use these ports?  SDM vol. 1, 19.5.2. */
static bool bitmap_allows(struct vcpu *c, uint16_t port, unsigned size)
{
	const struct cpu_seg *tr = &c->s.tr;
	uint32_t at, bits;

	if (!(tr->attr & ATTR_P) || !(tr->attr & TYPE_32) || tr->limit < TSS_IOMAP + 1)
		return false;
	at = (uint32_t)sys_load(c, tr->base + TSS_IOMAP, 2) + port / 8;
	if (at + 1 > tr->limit)
		return false;
	bits = (uint32_t)sys_load(c, tr->base + at, 2) >> (port & 7);
	return !(bits & ((1U << size) - 1));
}

/* I/O breakpoints trap after the instruction (CR4.DE). */
static void note_breakpoints(struct vcpu *c, uint16_t port, unsigned size)
{
	static const uint8_t len[] = {1, 2, 8, 4};

	for (unsigned n = 0; n < 4; n++) {
		unsigned bytes = len[c->s.dr7 >> (18 + 4 * n) & 3];
		uint64_t at = c->s.dr[n] & ~(uint64_t)(bytes - 1);

		if (!(c->s.dr7 >> (2 * n) & 3) || (c->s.dr7 >> (16 + 4 * n) & 3) != DR_IO)
			continue;
		if (at - port < size || port - at < bytes) {
			c->db_pending |= 1U << n;
			c->end_block = true;
			__atomic_fetch_or(&c->requests, REQ_EVENT, __ATOMIC_RELAXED);
		}
	}
}

void port_check(struct vcpu *c, uint16_t port, unsigned size)
{
	if (c->s.cr0 & CR0_PE && (c->cpl > iopl(c) || in_vm86(c)) && !bitmap_allows(c, port, size))
		raise_gp(c, 0);
	if (unlikely(c->s.cr4 & CR4_DE && c->s.dr7 & 0xff))
		note_breakpoints(c, port, size);
}

static uint16_t port_of(const struct vcpu *c, const struct insn *i)
{
	return i->form == FORM_IO_I ? (uint8_t)i->imm : (uint16_t)c->s.gpr[GPR_RDX];
}

static void op_in(struct vcpu *c, const struct insn *i)
{
	uint16_t port = port_of(c, i);
	uint64_t v = 0;

	port_check(c, port, i->opsize);
	ext_access(c, EXIT_PIO, port, i->opsize, false, &v, NULL);
	gpr_set(c, GPR_RAX, i->opsize, v);
}

static void op_out(struct vcpu *c, const struct insn *i)
{
	uint16_t port = port_of(c, i);
	uint64_t v = gpr_get(c, GPR_RAX, i->opsize);

	port_check(c, port, i->opsize);
	ext_access(c, EXIT_PIO, port, i->opsize, true, &v, NULL);
}

/* --- flags --------------------------------------------------------------------------- */

static void op_clc(struct vcpu *c, const struct insn *i)
{
	c->s.rflags &= ~(uint64_t)FL_CF;
}

static void op_stc(struct vcpu *c, const struct insn *i)
{
	c->s.rflags |= FL_CF;
}

static void op_cmc(struct vcpu *c, const struct insn *i)
{
	c->s.rflags ^= FL_CF;
}

static void op_cld(struct vcpu *c, const struct insn *i)
{
	c->s.rflags &= ~(uint64_t)FL_DF;
}

static void op_std(struct vcpu *c, const struct insn *i)
{
	c->s.rflags |= FL_DF;
}

static void need_iopl(struct vcpu *c)
{
	if (c->s.cr0 & CR0_PE && c->cpl > iopl(c))
		raise_gp(c, 0);
}

static void op_cli(struct vcpu *c, const struct insn *i)
{
	need_iopl(c);
	c->s.rflags &= ~(uint64_t)FL_IF;
}

static void op_sti(struct vcpu *c, const struct insn *i)
{
	need_iopl(c);
	if (!(c->s.rflags & FL_IF))
		c->s.int_shadow = 1;
	c->s.rflags |= FL_IF;
	c->end_block = true;
}

static void op_clac(struct vcpu *c, const struct insn *i)
{
	if (c->cpl)
		raise_ud(c);
	c->s.rflags &= ~(uint64_t)FL_AC;
	vcpu_update_view(c);
}

static void op_stac(struct vcpu *c, const struct insn *i)
{
	if (c->cpl)
		raise_ud(c);
	c->s.rflags |= FL_AC;
	vcpu_update_view(c);
}

static void vm86_needs_iopl(struct vcpu *c)
{
	if (in_vm86(c) && iopl(c) < 3)
		raise_gp(c, 0);
}

static void op_pushf(struct vcpu *c, const struct insn *i)
{
	vm86_needs_iopl(c);
	push_val(c, i->opsize, c->s.rflags & ~(uint64_t)(FL_VM | FL_RF));
}

static void op_popf(struct vcpu *c, const struct insn *i)
{
	uint64_t mask = FL_STATUS | FL_TF | FL_DF | FL_NT, v, m = stack_mask(c);

	vm86_needs_iopl(c);
	v = peek_val(c, i->opsize, 0);
	if (i->opsize > 2) {
		mask |= FL_AC | FL_ID | FL_RF | FL_VIF | FL_VIP;
		v &= ~(uint64_t)(FL_RF | FL_VIF | FL_VIP);
	}
	if (!(c->s.cr0 & CR0_PE) || c->cpl <= iopl(c))
		mask |= FL_IF;
	if (c->cpl == 0)
		mask |= FL_IOPL;
	c->s.gpr[GPR_RSP] = (c->s.gpr[GPR_RSP] & ~m) | ((c->s.gpr[GPR_RSP] + i->opsize) & m);
	flags_merge(c, v, mask);
	vcpu_update_view(c);
	c->end_block = true;
}

/* --- processor control ------------------------------------------------------------------ */

static void op_hlt(struct vcpu *c, const struct insn *i)
{
	need_cpl0(c);
	exit_after(c, EXIT_HLT);
}

/* Caches are the host's, and coherent. */
static void op_cache_all(struct vcpu *c, const struct insn *i)
{
	need_cpl0(c);
}

static void op_rdmsr(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	need_cpl0(c);
	msr_read(c, (uint32_t)c->s.gpr[GPR_RCX], &v);
	c->s.gpr[GPR_RAX] = (uint32_t)v;
	c->s.gpr[GPR_RDX] = v >> 32;
}

static void op_wrmsr(struct vcpu *c, const struct insn *i)
{
	need_cpl0(c);
	msr_write(c, (uint32_t)c->s.gpr[GPR_RCX],
		  (uint32_t)c->s.gpr[GPR_RAX] | c->s.gpr[GPR_RDX] << 32);
}

static void op_rdtsc(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	if (c->s.cr4 & CR4_TSD && c->cpl)
		raise_gp(c, 0);
	v = guest_tsc(c);
	c->s.gpr[GPR_RAX] = (uint32_t)v;
	c->s.gpr[GPR_RDX] = v >> 32;
}

static void op_rdtscp(struct vcpu *c, const struct insn *i)
{
	op_rdtsc(c, i);
	c->s.gpr[GPR_RCX] = (uint32_t)c->s.tsc_aux;
}

static void op_rdpid(struct vcpu *c, const struct insn *i)
{
	gpr_set(c, i->rm, i->opsize, c->s.tsc_aux);
}

/* There are no counters. */
static void op_rdpmc(struct vcpu *c, const struct insn *i)
{
	raise_gp(c, 0);
}

static void op_cpuid(struct vcpu *c, const struct insn *i)
{
	struct cpuid_regs r;

	cpuid_query(c->model, c->index, (uint32_t)c->s.gpr[GPR_RAX], (uint32_t)c->s.gpr[GPR_RCX],
		    c->s.cr4, c->s.xcr0, c->s.xss, c->s.apic_base, &r);
	c->s.gpr[GPR_RAX] = r.eax;
	c->s.gpr[GPR_RBX] = r.ebx;
	c->s.gpr[GPR_RCX] = r.ecx;
	c->s.gpr[GPR_RDX] = r.edx;
}

static void op_hypercall(struct vcpu *c, const struct insn *i)
{
	uint64_t v = 0;

	ext_access(c, EXIT_HYPERCALL, 0, 8, false, &v, NULL);
	c->s.gpr[GPR_RAX] = c->mode == MODE_64 ? v : (uint32_t)v;
}

/* --- random numbers: offered only where the host has them ------------------------------------- */

static void put_random(struct vcpu *c, const struct insn *i, bool ok, uint64_t v)
{
	gpr_set(c, i->rm, i->opsize, ok ? v : 0);
	c->s.rflags = (c->s.rflags & ~(uint64_t)FL_STATUS) | (ok ? FL_CF : 0);
}

__attribute__((target("rdrnd"))) static void op_rdrand(struct vcpu *c, const struct insn *i)
{
	unsigned long long v = 0;
	bool ok = false;

	for (unsigned n = 0; !ok && n < 10; n++)
		ok = _rdrand64_step(&v);
	put_random(c, i, ok, v);
}

__attribute__((target("rdseed"))) static void op_rdseed(struct vcpu *c, const struct insn *i)
{
	unsigned long long v = 0;
	bool ok = _rdseed64_step(&v);

	put_random(c, i, ok, v);
}

/* --- hints and fences
 * ----------------------------------------------------------------------------- */

static void op_nop(struct vcpu *c, const struct insn *i)
{
}

static void op_pause(struct vcpu *c, const struct insn *i)
{
	_mm_pause();
}

/* Faults like a load of one byte, and does nothing else. */
static void op_clflush(struct vcpu *c, const struct insn *i)
{
	gva_t lin = insn_lin(c, i, 1, ACCESS_READ);
	gpa_t gpa;

	if (!tlb_read_ptr(c, lin, 1))
		mmu_fill(c, lin, ACCESS_READ, &gpa);
}

static void op_mfence(struct vcpu *c, const struct insn *i)
{
	_mm_mfence();
}

static void op_lfence(struct vcpu *c, const struct insn *i)
{
	_mm_lfence();
}

static void op_sfence(struct vcpu *c, const struct insn *i)
{
	_mm_sfence();
}

static void op_ud(struct vcpu *c, const struct insn *i)
{
	raise_ud(c);
}

/* --- binding
 * ------------------------------------------------------------------------------------------ */

static insn_fn *const handlers[OP_COUNT] = {
	[OP_JMP_FAR] = op_jmp_far,
	[OP_JMP_FAR_M] = op_jmp_far_m,
	[OP_CALL_FAR] = op_call_far,
	[OP_CALL_FAR_M] = op_call_far_m,
	[OP_RET_FAR] = op_ret_far,
	[OP_IRET] = op_iret,
	[OP_INT] = op_int,
	[OP_INT3] = op_int3,
	[OP_INTO] = op_into,
	[OP_ICEBP] = op_icebp,
	[OP_SYSCALL] = op_syscall,
	[OP_SYSRET] = op_sysret,
	[OP_SYSENTER] = op_sysenter,
	[OP_SYSEXIT] = op_sysexit,
	[OP_IN] = op_in,
	[OP_OUT] = op_out,
	[OP_CLC] = op_clc,
	[OP_STC] = op_stc,
	[OP_CMC] = op_cmc,
	[OP_CLD] = op_cld,
	[OP_STD] = op_std,
	[OP_CLI] = op_cli,
	[OP_STI] = op_sti,
	[OP_CLAC] = op_clac,
	[OP_STAC] = op_stac,
	[OP_PUSHF] = op_pushf,
	[OP_POPF] = op_popf,
	[OP_MOV_R_S] = op_mov_r_s,
	[OP_MOV_S_R] = op_mov_s_r,
	[OP_PUSH_S] = op_push_s,
	[OP_POP_S] = op_pop_s,
	[OP_LDS] = op_load_far_ptr,
	[OP_LES] = op_load_far_ptr,
	[OP_LFS] = op_load_far_ptr,
	[OP_LGS] = op_load_far_ptr,
	[OP_LSS] = op_load_far_ptr,
	[OP_LAR] = op_lar,
	[OP_LSL] = op_lsl,
	[OP_VERR] = op_verr,
	[OP_VERW] = op_verw,
	[OP_ARPL] = op_arpl,
	[OP_LLDT] = op_lldt,
	[OP_SLDT] = op_sldt,
	[OP_LTR] = op_ltr,
	[OP_STR] = op_str,
	[OP_LGDT] = op_lgdt,
	[OP_SGDT] = op_sgdt,
	[OP_LIDT] = op_lidt,
	[OP_SIDT] = op_sidt,
	[OP_RDFSBASE] = op_rdfsbase,
	[OP_RDGSBASE] = op_rdgsbase,
	[OP_WRFSBASE] = op_wrfsbase,
	[OP_WRGSBASE] = op_wrgsbase,
	[OP_SWAPGS] = op_swapgs,
	[OP_MOV_R_CR] = op_mov_r_cr,
	[OP_MOV_CR_R] = op_mov_cr_r,
	[OP_MOV_R_DR] = op_mov_r_dr,
	[OP_MOV_DR_R] = op_mov_dr_r,
	[OP_CLTS] = op_clts,
	[OP_SMSW] = op_smsw,
	[OP_LMSW] = op_lmsw,
	[OP_HLT] = op_hlt,
	[OP_INVLPG] = op_invlpg,
	[OP_INVPCID] = op_invpcid,
	[OP_INVD] = op_cache_all,
	[OP_WBINVD] = op_cache_all,
	[OP_RDMSR] = op_rdmsr,
	[OP_WRMSR] = op_wrmsr,
	[OP_RDTSC] = op_rdtsc,
	[OP_RDTSCP] = op_rdtscp,
	[OP_RDPID] = op_rdpid,
	[OP_RDPMC] = op_rdpmc,
	[OP_CPUID] = op_cpuid,
	[OP_MONITOR] = op_ud,
	[OP_MWAIT] = op_ud,
	[OP_VMCALL] = op_hypercall,
	[OP_VMMCALL] = op_hypercall,
	[OP_RDRAND] = op_rdrand,
	[OP_RDSEED] = op_rdseed,
	[OP_NOP] = op_nop,
	[OP_PAUSE] = op_pause,
	[OP_PREFETCH] = op_nop,
	[OP_CLFLUSH] = op_clflush,
	[OP_CLFLUSHOPT] = op_clflush,
	[OP_CLWB] = op_clflush,
	[OP_LFENCE] = op_lfence,
	[OP_MFENCE] = op_mfence,
	[OP_SFENCE] = op_sfence,
	[OP_UD] = op_ud,
};

insn_fn *bind_sys(const struct insn *i)
{
	return handlers[i->op];
}
