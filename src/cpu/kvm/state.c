/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - struct cpu_state from and to the kernel's vCPU.
 *
 * The kernel's structures split the state differently: general registers, system
 * registers, an XSAVE image, MSRs one by one, pending events, run state.  XSAVE
 * images are in standard form (SDM vol. 1, 13.4): legacy region, header at 512,
 * upper halves of YMM at 576.
 */
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"

enum { XSAVE_HEADER = 512, XSAVE_AVX = 576 };

/* --- MSRs ---------------------------------------------------------------------------- */

struct msr_field {
	uint32_t msr;
	uint32_t offset; /* in struct cpu_state */
};

#define MSR_FIELD(msr, field)                          \
	{                                              \
		msr, offsetof(struct cpu_state, field) \
	}

static const struct msr_field msr_fields[] = {
	MSR_FIELD(0xc0000081, star),
	MSR_FIELD(0xc0000082, lstar),
	MSR_FIELD(0xc0000083, cstar),
	MSR_FIELD(0xc0000084, sfmask),
	MSR_FIELD(0xc0000102, kernel_gs_base),
	MSR_FIELD(0xc0000103, tsc_aux),
	MSR_FIELD(0x174, sysenter_cs),
	MSR_FIELD(0x175, sysenter_esp),
	MSR_FIELD(0x176, sysenter_eip),
	MSR_FIELD(0x277, pat),
	MSR_FIELD(0x1a0, misc_enable),
	MSR_FIELD(0xda0, xss),
	MSR_FIELD(0x6e0, tsc_deadline),
	MSR_FIELD(0x17a, mcg_status),
	MSR_FIELD(0x2ff, mtrr_def_type),
	MSR_FIELD(0x4b564d01, pv_system_time),
	MSR_FIELD(0x48, spec_ctrl),
	MSR_FIELD(0x250, mtrr_fix[0]),
	MSR_FIELD(0x258, mtrr_fix[1]),
	MSR_FIELD(0x259, mtrr_fix[2]),
	MSR_FIELD(0x268, mtrr_fix[3]),
	MSR_FIELD(0x269, mtrr_fix[4]),
	MSR_FIELD(0x26a, mtrr_fix[5]),
	MSR_FIELD(0x26b, mtrr_fix[6]),
	MSR_FIELD(0x26c, mtrr_fix[7]),
	MSR_FIELD(0x26d, mtrr_fix[8]),
	MSR_FIELD(0x26e, mtrr_fix[9]),
	MSR_FIELD(0x26f, mtrr_fix[10]),
};

union one_msr { /* struct kvm_msrs with room for one entry */
	struct kvm_msrs head;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

static int get_msr(int fd, uint32_t msr, uint64_t *val)
{
	union one_msr m = {.head.nmsrs = 1};

	m.head.entries[0].index = msr;
	if (ioctl(fd, KVM_GET_MSRS, &m) != 1)
		return -EIO;
	*val = m.head.entries[0].data;
	return 0;
}

static int set_msr(int fd, uint32_t msr, uint64_t val)
{
	union one_msr m = {.head.nmsrs = 1};

	m.head.entries[0].index = msr;
	m.head.entries[0].data = val;
	return ioctl(fd, KVM_SET_MSRS, &m) == 1 ? 0 : -EIO;
}

/* An MSR that this kernel or model lacks reads as zero. */
static void get_msrs(int fd, struct cpu_state *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(msr_fields); i++)
		get_msr(fd, msr_fields[i].msr, (uint64_t *)((char *)s + msr_fields[i].offset));
	for (unsigned i = 0; i < CPU_MTRR_VAR; i++) {
		get_msr(fd, 0x200 + 2 * i, &s->mtrr_base[i]);
		get_msr(fd, 0x201 + 2 * i, &s->mtrr_mask[i]);
	}
}

/* ... and may be set to zero only. */
static int set_one(int fd, uint32_t msr, uint64_t val, struct errbuf *err)
{
	if (set_msr(fd, msr, val) < 0 && val)
		return err_set(err, -EINVAL, "KVM: MSR %#x cannot be %#llx", msr,
			       (unsigned long long)val);
	return 0;
}

static uint64_t field(const struct cpu_state *s, const struct msr_field *f)
{
	return *(const uint64_t *)((const char *)s + f->offset);
}

/* All of them, or those that differ from @old. */
static int set_msrs(int fd, const struct cpu_state *old, const struct cpu_state *s,
		    struct errbuf *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < ARRAY_SIZE(msr_fields); i++)
		if (!old || field(old, &msr_fields[i]) != field(s, &msr_fields[i]))
			ret = set_one(fd, msr_fields[i].msr, field(s, &msr_fields[i]), err);
	for (unsigned i = 0; !ret && i < CPU_MTRR_VAR; i++) {
		if (!old || old->mtrr_base[i] != s->mtrr_base[i])
			ret = set_one(fd, 0x200 + 2 * i, s->mtrr_base[i], err);
		if (!ret && (!old || old->mtrr_mask[i] != s->mtrr_mask[i]))
			ret = set_one(fd, 0x201 + 2 * i, s->mtrr_mask[i], err);
	}
	return ret;
}

/* --- TSC: the offset is an attribute since Linux 5.16, before that the MSR is written --- */

static int tsc_attr(int fd, unsigned long op, uint64_t *offset)
{
	struct kvm_device_attr a = {.group = 0 /* KVM_VCPU_TSC_CTRL */,
				    .attr = 0 /* KVM_VCPU_TSC_OFFSET */,
				    .addr = (uintptr_t)offset};

	return ioctl(fd, op, &a) < 0 ? -errno : 0;
}

static void get_tsc(int fd, struct cpu_state *s)
{
	uint64_t tsc = 0;

	if (tsc_attr(fd, KVM_GET_DEVICE_ATTR, &s->tsc_offset) < 0) {
		get_msr(fd, 0x10, &tsc);
		s->tsc_offset = tsc - host_tsc();
	}
	s->tsc = host_tsc() + s->tsc_offset;
	get_msr(fd, 0x3b, &s->tsc_adjust);
}

static void set_tsc(int fd, const struct cpu_state *s)
{
	uint64_t offset = s->tsc_offset;

	set_msr(fd, 0x3b, s->tsc_adjust); /* from the host, it does not move the TSC */
	if (tsc_attr(fd, KVM_SET_DEVICE_ATTR, &offset) < 0)
		set_msr(fd, 0x10, host_tsc() + s->tsc_offset);
}

/* --- segments and system registers -------------------------------------------------------- */

static struct cpu_seg from_kvm_seg(const struct kvm_segment *k)
{
	unsigned attr = k->type | (unsigned)k->s << 4 | (unsigned)k->dpl << 5 |
			(unsigned)k->present << 7 | (unsigned)k->avl << 12 | (unsigned)k->l << 13 |
			(unsigned)k->db << 14 | (unsigned)k->g << 15;

	return (struct cpu_seg){.base = k->base,
				.limit = k->limit,
				.sel = k->selector,
				.attr = k->unusable ? 0 : (uint16_t)attr};
}

static struct kvm_segment to_kvm_seg(const struct cpu_seg *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & ATTR_TYPE,
		.s = !!(s->attr & ATTR_S),
		.dpl = (s->attr & ATTR_DPL) >> ATTR_DPL_SHIFT,
		.present = !!(s->attr & ATTR_P),
		.avl = !!(s->attr & ATTR_AVL),
		.l = !!(s->attr & ATTR_L),
		.db = !!(s->attr & ATTR_DB),
		.g = !!(s->attr & ATTR_G),
		.unusable = !(s->attr & ATTR_P),
	};
}

static void from_sregs(const struct kvm_sregs *k, struct cpu_state *s)
{
	const struct kvm_segment *segs[SEG_COUNT] = {&k->es, &k->cs, &k->ss,
						     &k->ds, &k->fs, &k->gs};

	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = from_kvm_seg(segs[i]);
	s->ldt = from_kvm_seg(&k->ldt);
	s->tr = from_kvm_seg(&k->tr);
	s->gdt = (struct cpu_dtr){.base = k->gdt.base, .limit = k->gdt.limit};
	s->idt = (struct cpu_dtr){.base = k->idt.base, .limit = k->idt.limit};
	s->cr0 = k->cr0;
	s->cr2 = k->cr2;
	s->cr3 = k->cr3;
	s->cr4 = k->cr4;
	s->cr8 = k->cr8;
	s->efer = k->efer;
	s->apic_base = k->apic_base;
}

static void to_sregs(const struct cpu_state *s, struct kvm_sregs *k)
{
	struct kvm_segment *segs[SEG_COUNT] = {&k->es, &k->cs, &k->ss, &k->ds, &k->fs, &k->gs};

	for (unsigned i = 0; i < SEG_COUNT; i++)
		*segs[i] = to_kvm_seg(&s->seg[i]);
	if (k->ss.unusable) /* the kernel takes CPL from here, null selector or not */
		k->ss.dpl = s->seg[SEG_CS].sel & 3;
	k->ldt = to_kvm_seg(&s->ldt);
	k->tr = to_kvm_seg(&s->tr);
	k->gdt = (struct kvm_dtable){.base = s->gdt.base, .limit = s->gdt.limit};
	k->idt = (struct kvm_dtable){.base = s->idt.base, .limit = s->idt.limit};
	k->cr0 = s->cr0;
	k->cr2 = s->cr2;
	k->cr3 = s->cr3;
	k->cr4 = s->cr4;
	k->cr8 = s->cr8;
	k->efer = s->efer;
	k->apic_base = s->apic_base;
}

static void from_regs(const struct kvm_regs *r, struct cpu_state *s)
{
	const uint64_t g[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				r->r8,	r->r9,	r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};

	memcpy(s->gpr, g, sizeof(g));
	s->rip = r->rip;
	s->rflags = r->rflags;
}

static void to_regs(const struct cpu_state *s, struct kvm_regs *r)
{
	const uint64_t *g = s->gpr;

	*r = (struct kvm_regs){
		.rax = g[0],
		.rcx = g[1],
		.rdx = g[2],
		.rbx = g[3],
		.rsp = g[4],
		.rbp = g[5],
		.rsi = g[6],
		.rdi = g[7],
		.r8 = g[8],
		.r9 = g[9],
		.r10 = g[10],
		.r11 = g[11],
		.r12 = g[12],
		.r13 = g[13],
		.r14 = g[14],
		.r15 = g[15],
		.rip = s->rip,
		.rflags = s->rflags,
	};
}

/* --- x87 and vectors ----------------------------------------------------------------------- */

static void from_xsave(const struct kvm_xsave *x, struct cpu_state *s)
{
	const uint8_t *b = (const uint8_t *)x->region;
	uint64_t present;

	memcpy(&s->fx, b, sizeof(s->fx));
	memcpy(&present, b + XSAVE_HEADER, 8);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(s->vec[i].b, s->fx.xmm[i], 16);
		if (present & XCR0_AVX)
			memcpy(s->vec[i].b + 16, b + XSAVE_AVX + 16 * i, 16);
		else
			memset(s->vec[i].b + 16, 0, 16);
	}
	memset(s->fx.xmm, 0, sizeof(s->fx.xmm));
	memset(s->fx.avail, 0, sizeof(s->fx.avail));
}

static void to_xsave(const struct cpu_state *s, uint64_t present, struct kvm_xsave *x)
{
	uint8_t *b = (uint8_t *)x->region;

	memset(x, 0, sizeof(*x));
	memcpy(b, &s->fx, sizeof(s->fx));
	memcpy(b + XSAVE_HEADER, &present, 8);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(b + offsetof(struct cpu_fxsave, xmm) + 16 * i, s->vec[i].b, 16);
		memcpy(b + XSAVE_AVX + 16 * i, s->vec[i].b + 16, 16);
	}
}

/* --- pending events -------------------------------------------------------------------------- */

static void from_events(const struct kvm_vcpu_events *e, struct cpu_state *s)
{
	s->exc_pending = e->exception.injected;
	s->exc_vector = e->exception.nr;
	s->exc_has_error = e->exception.has_error_code;
	s->exc_error = e->exception.error_code;
	s->int_injected = e->interrupt.injected && !e->interrupt.soft;
	s->int_vector = e->interrupt.nr;
	s->int_shadow = e->interrupt.shadow != 0;
	s->nmi_pending = e->nmi.pending || e->nmi.injected;
	/* the kernel masks an NMI at injection, a processor at delivery */
	s->nmi_blocked = e->nmi.masked && !e->nmi.injected;
}

static void to_events(const struct cpu_state *s, struct kvm_vcpu_events *e)
{
	*e = (struct kvm_vcpu_events){
		.exception = {.injected = s->exc_pending,
			      .nr = s->exc_vector,
			      .has_error_code = s->exc_has_error,
			      .error_code = s->exc_error},
		.interrupt = {.injected = s->int_injected,
			      .nr = s->int_vector,
			      .shadow = s->int_shadow ? KVM_X86_SHADOW_INT_STI : 0},
		.nmi = {.pending = s->nmi_pending, .masked = s->nmi_blocked},
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
	};
}

static const uint32_t mp_states[] = {
	[CPU_ACTIVE] = KVM_MP_STATE_RUNNABLE,
	[CPU_HALTED] = KVM_MP_STATE_HALTED,
	[CPU_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED, /* UNINITIALIZED would ignore a SIPI */
	[CPU_SHUTDOWN] = KVM_MP_STATE_RUNNABLE,
};

static uint8_t from_mp_state(uint32_t mp)
{
	switch (mp) {
	case KVM_MP_STATE_HALTED: return CPU_HALTED;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_SIPI_RECEIVED: return CPU_WAIT_SIPI;
	default: return CPU_ACTIVE;
	}
}

/*
 * Power-on values that guests look for and cpu_state does not hold.  HWCR bit 24: the TSC
 * counts at P0's frequency, which AMD guests complain about otherwise; Linux since 6.13
 * takes it, and before the guest has to live with the complaint.
 */
void kvm_set_fixed_msrs(int vcpu_fd)
{
	set_msr(vcpu_fd, 0xc0010015, 1 << 24);
}

/* --- the whole ---------------------------------------------------------------------------------
 */

struct kernel_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs dbg;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_xsave xsave; /* last: the header lets it grow */
};

int kvm_get_state(struct engine_vcpu *v, struct cpu_state *s)
{
	AUTO_PTR struct kernel_state *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	/* events first: many kernels put a pending exception's CR2 or DR6 in place only then */
	if (ioctl(v->fd, KVM_GET_MP_STATE, &k->mp) < 0 ||
	    ioctl(v->fd, KVM_GET_VCPU_EVENTS, &k->events) < 0 ||
	    ioctl(v->fd, KVM_GET_REGS, &k->regs) < 0 ||
	    ioctl(v->fd, KVM_GET_SREGS, &k->sregs) < 0 ||
	    ioctl(v->fd, KVM_GET_XSAVE, &k->xsave) < 0 ||
	    ioctl(v->fd, KVM_GET_XCRS, &k->xcrs) < 0 ||
	    ioctl(v->fd, KVM_GET_DEBUGREGS, &k->dbg) < 0)
		return -errno;
	memset(s, 0, sizeof(*s));
	from_regs(&k->regs, s);
	from_sregs(&k->sregs, s);
	from_xsave(&k->xsave, s);
	s->xcr0 = k->xcrs.nr_xcrs ? k->xcrs.xcrs[0].value : XCR0_X87;
	memcpy(s->dr, k->dbg.db, sizeof(s->dr));
	s->dr6 = k->dbg.dr6;
	s->dr7 = k->dbg.dr7;
	from_events(&k->events, s);
	s->activity = from_mp_state(k->mp.mp_state);
	get_msrs(v->fd, s);
	get_tsc(v->fd, s);
	return 0;
}

/*
 * Loading system registers costs the kernel its shadow of page tables and the low half
 * of the TPR, and a resumed VM has not changed them.
 */
static int set_sregs(int fd, const struct kvm_sregs *want)
{
	struct kvm_sregs now, same = {0};
	struct cpu_state s;

	if (ioctl(fd, KVM_GET_SREGS, &now) < 0)
		return -errno;
	from_sregs(&now, &s);
	to_sregs(&s, &same); /* as @want was made: without what an unusable segment holds */
	if (!memcmp(&same, want, sizeof(same)))
		return 0;
	return ioctl(fd, KVM_SET_SREGS, want) < 0 ? -errno : 0;
}

static int set_kernel_state(struct engine_vcpu *v, const struct kernel_state *k)
{
	struct kvm_mp_state mp;
	int ret;

	/* An INIT or SIPI latched before now is taken here: it was the old state's. */
	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0 || ioctl(v->fd, KVM_SET_REGS, &k->regs) < 0)
		return -errno;
	/* sregs before events: loading them drops pending interrupts */
	ret = set_sregs(v->fd, &k->sregs);
	if (ret)
		return ret;
	if (ioctl(v->fd, KVM_SET_XCRS, &k->xcrs) < 0 ||
	    ioctl(v->fd, KVM_SET_XSAVE, &k->xsave) < 0 ||
	    ioctl(v->fd, KVM_SET_DEBUGREGS, &k->dbg) < 0 ||
	    ioctl(v->fd, KVM_SET_VCPU_EVENTS, &k->events) < 0 ||
	    ioctl(v->fd, KVM_SET_MP_STATE, &k->mp) < 0)
		return -errno;
	return 0;
}

static int check(struct engine_vcpu *v, const struct cpu_state *s, struct errbuf *err)
{
	struct cpu_state copy = *s; /* the check may mend what it refuses */
	int ret = cpu_state_desc.post_load(&copy, err);

	return ret ? err_prefix(err, "vCPU %u", v->index) : 0;
}

static int set_kernel(struct engine_vcpu *v, const struct cpu_state *s, struct errbuf *err)
{
	AUTO_PTR struct kernel_state *k = calloc(1, sizeof(*k));
	int ret;

	if (!k)
		return err_set(err, -ENOMEM, "KVM: out of memory");
	to_regs(s, &k->regs);
	to_sregs(s, &k->sregs);
	to_xsave(s, v->xcr0_mask, &k->xsave);
	k->xcrs.nr_xcrs = 1;
	k->xcrs.xcrs[0].value = s->xcr0 | XCR0_X87;
	memcpy(k->dbg.db, s->dr, sizeof(s->dr));
	k->dbg.dr6 = s->dr6;
	k->dbg.dr7 = s->dr7;
	to_events(s, &k->events);
	k->mp.mp_state = mp_states[s->activity];
	ret = set_kernel_state(v, k);
	if (ret)
		return err_set(err, ret, "vCPU %u: KVM refuses the state: %s", v->index,
			       strerror(-ret));
	return 0;
}

int kvm_set_state(struct engine_vcpu *v, const struct cpu_state *s, struct errbuf *err)
{
	int ret = check(v, s, err);

	if (!ret)
		ret = set_kernel(v, s, err);
	if (ret)
		return ret;
	set_tsc(v->fd, s); /* first: a deadline among the MSRs is in its terms */
	v->pio_answer = v->mmio_answer = v->rescuing = false;
	v->pio_done = 0;
	return set_msrs(v->fd, NULL, s, err);
}

/* Changing CR4.PGE and back has the kernel forget what it derived from page tables. */
static int flush_translations(int fd)
{
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cr4 ^= CR4_PGE;
	if (ioctl(fd, KVM_SET_SREGS, &s) < 0)
		return -errno;
	s.cr4 ^= CR4_PGE;
	return ioctl(fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

int kvm_change_state(struct engine_vcpu *v, const struct cpu_state *old, const struct cpu_state *s,
		     bool flush, struct errbuf *err)
{
	int ret = flush ? flush_translations(v->fd) : 0;

	if (ret)
		return err_set(err, ret, "vCPU %u: flushing translations: %s", v->index,
			       strerror(-ret));
	ret = set_kernel(v, s, err);
	return ret ? ret : set_msrs(v->fd, old, s, err);
}
