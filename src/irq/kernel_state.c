// SPDX-License-Identifier: Apache-2.0
/*
 * kernel_state.c - registers of the kernel's controllers, as the software chip's
 * state objects.
 *
 * Both sides model the same chips, so this is renaming fields.  What KVM does not
 * keep (ICW3, single mode) reads as zero.  KVM delivers every asserted IOAPIC input
 * it is given anew; only level inputs are therefore stored as asserted, since an
 * edge was delivered when it happened.
 */
#include "irq/kernel_chip.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "base/log.h"

enum { MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0 };
enum { LATE_NS = 2000000, LATE_ROUNDS = 4 };

static int sysfail(struct errbuf *err, const char *what)
{
	return err_set(err, -errno, "%s: %m", what);
}

/* --- PIC ------------------------------------------------------------------------ */

static void unit_from_kvm(struct pic_unit *u, const struct kvm_pic_state *s)
{
	*u = (struct pic_unit){
		.irr = s->irr,
		.isr = s->isr,
		.imr = s->imr,
		.lines = s->last_irr,
		.elcr = s->elcr,
		.base = s->irq_base & 0xf8,
		.init_state = s->init_state ? s->init_state + 1 : 0,
		.lowest = s->priority_add & 7,
		.want_icw4 = s->init4,
		.auto_eoi = s->auto_eoi,
		.rotate_aeoi = s->rotate_on_auto_eoi,
		.sfnm = s->special_fully_nested_mode,
		.special_mask = s->special_mask,
		.read_isr = s->read_reg_select,
		.poll = s->poll,
	};
}

static void unit_to_kvm(const struct pic_unit *u, struct kvm_pic_state *s, uint8_t elcr_mask)
{
	*s = (struct kvm_pic_state){
		.irr = u->irr,
		.isr = u->isr,
		.imr = u->imr,
		.last_irr = u->lines,
		.elcr = u->elcr,
		.elcr_mask = elcr_mask,
		.irq_base = u->base,
		.init_state = u->init_state ? u->init_state - 1 : 0,
		.priority_add = u->lowest,
		.init4 = u->want_icw4,
		.auto_eoi = u->auto_eoi,
		.rotate_on_auto_eoi = u->rotate_aeoi,
		.special_fully_nested_mode = u->sfnm,
		.special_mask = u->special_mask,
		.read_reg_select = u->read_isr,
		.poll = u->poll,
	};
}

/* --- IOAPIC ------------------------------------------------------------------------ */

static void ioapic_from_kvm(struct ioapic *io, const struct kvm_ioapic_state *s)
{
	io->id = (s->id & 0xf) << 24;
	io->select = (uint8_t)s->ioregsel;
	io->lines = s->irr & ((1u << IOAPIC_PINS) - 1);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t rte = s->redirtbl[pin].bits & 0xff0000000001efffULL;

		if (!(rte & RTE_LEVEL))
			rte &= ~(uint64_t)RTE_REMOTE_IRR;
		io->rte[pin] = rte;
	}
}

static void ioapic_to_kvm(const struct ioapic *io, struct kvm_ioapic_state *s)
{
	s->base_address = 0xfec00000;
	s->id = io->id >> 24;
	s->ioregsel = io->select;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		s->redirtbl[pin].bits = io->rte[pin];
		if (io->rte[pin] & RTE_LEVEL)
			s->irr |= io->lines & 1u << pin;
	}
}

/* --- both ---------------------------------------------------------------------------- */

static int get_chip(struct kernel_chip *k, unsigned id, struct kvm_irqchip *c, struct errbuf *err)
{
	memset(c, 0, sizeof(*c));
	c->chip_id = id;
	return ioctl(k->vm_fd, KVM_GET_IRQCHIP, c) < 0 ? sysfail(err, "KVM_GET_IRQCHIP") : 0;
}

static int set_chip(struct kernel_chip *k, unsigned id, struct kvm_irqchip *c, struct errbuf *err)
{
	c->chip_id = id;
	return ioctl(k->vm_fd, KVM_SET_IRQCHIP, c) < 0 ? sysfail(err, "KVM_SET_IRQCHIP") : 0;
}

int irqchip_kernel_fetch(struct irqchip *chip, struct errbuf *err)
{
	struct kernel_chip *k = to_kernel(chip);
	struct kvm_irqchip c;
	int ret;

	for (unsigned i = 0; i < 2; i++) {
		ret = get_chip(k, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, &c, err);
		if (ret)
			return ret;
		unit_from_kvm(&k->pic.unit[i], &c.chip.pic);
	}
	pic_recompute(&k->pic);
	ret = get_chip(k, KVM_IRQCHIP_IOAPIC, &c, err);
	if (!ret)
		ioapic_from_kvm(&k->ioapic, &c.chip.ioapic);
	return ret;
}

int irqchip_kernel_store(struct irqchip *chip, struct errbuf *err)
{
	struct kernel_chip *k = to_kernel(chip);
	struct kvm_irqchip c;
	int ret = 0;

	for (unsigned i = 0; !ret && i < 2; i++) {
		memset(&c, 0, sizeof(c));
		unit_to_kvm(&k->pic.unit[i], &c.chip.pic, i ? 0xde : 0xf8);
		ret = set_chip(k, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, &c, err);
	}
	if (ret)
		return ret;
	memset(&c, 0, sizeof(c));
	ioapic_to_kvm(&k->ioapic, &c.chip.ioapic);
	return set_chip(k, KVM_IRQCHIP_IOAPIC, &c, err);
}

/* --- local APIC ------------------------------------------------------------------------- */

union msrs {
	struct kvm_msrs head;
	uint8_t room[sizeof(struct kvm_msrs) + 3 * sizeof(struct kvm_msr_entry)];
};

static int get_msrs(int vcpu_fd, union msrs *m, struct errbuf *err)
{
	memset(m, 0, sizeof(*m));
	m->head.nmsrs = 3;
	m->head.entries[0].index = MSR_APIC_BASE;
	m->head.entries[1].index = MSR_TSC_DEADLINE;
	m->head.entries[2].index = MSR_TSC;
	return ioctl(vcpu_fd, KVM_GET_MSRS, m) != 3 ? sysfail(err, "KVM_GET_MSRS (APIC)") : 0;
}

static int set_msr(int vcpu_fd, uint32_t msr, uint64_t val, struct errbuf *err)
{
	union msrs m = {.head.nmsrs = 1};

	m.head.entries[0].index = msr;
	m.head.entries[0].data = val;
	return ioctl(vcpu_fd, KVM_SET_MSRS, &m) != 1 ? sysfail(err, "KVM_SET_MSRS (APIC)") : 0;
}

/* VM time of a TSC deadline. */
static void deadline_to_ns(struct lapic *l, int vcpu_fd, uint64_t tsc, uint64_t now_ns)
{
	int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	uint64_t delta = l->tsc_deadline > tsc ? l->tsc_deadline - tsc : 0;

	l->timer_on = l->tsc_deadline && khz > 0;
	if (l->timer_on)
		l->timer_ns = now_ns + mul_div64(MIN(delta, 1ULL << 60), 1000000, (uint64_t)khz);
}

/*
 * A timer that expired has its interrupt in IRR only after the vCPU's next KVM_RUN, and
 * no register tells.  So run it with a signal pending: the kernel then moves what
 * expired and returns before the guest executes anything.  That may also hand an
 * interrupt to the vCPU, whose registers are therefore read later.  SIGURG, because
 * without a handler it does nothing; blocked, because only KVM_RUN shall see it.
 */
static void run_with_signal(int vcpu_fd)
{
	union {
		struct kvm_signal_mask head;
		uint8_t room[sizeof(struct kvm_signal_mask) + 8];
	} mask = {.head.len = 8};
	uint64_t all_but_urg = ~(1ULL << (SIGURG - 1));
	sigset_t urg, old;

	memcpy(mask.head.sigset, &all_but_urg, 8);
	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	if (pthread_sigmask(SIG_BLOCK, &urg, &old))
		return;
	if (ioctl(vcpu_fd, KVM_SET_SIGNAL_MASK, &mask) == 0) {
		pthread_kill(pthread_self(), SIGURG);
		if (ioctl(vcpu_fd, KVM_RUN, 0) == 0 || errno != EINTR)
			log_debug(LOG_INT, "KVM_RUN did not end with the signal: %m");
		ioctl(vcpu_fd, KVM_SET_SIGNAL_MASK, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/*
 * The request that stopped the vCPU may still stand as immediate_exit, and then KVM_RUN
 * returns before it looks at timers.  It goes on to stand when this is done.
 */
static void settle_timer(int vcpu_fd)
{
	struct kvm_run *run =
		mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
	uint8_t kicked;

	if (run == MAP_FAILED)
		return;
	kicked = __atomic_exchange_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	run_with_signal(vcpu_fd);
	if (kicked)
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	munmap(run, sizeof(*run));
}

/* Was a timer with an initial count started whose interrupt is not in IRR? */
static bool timer_may_be_due(const struct kvm_lapic_state *page)
{
	uint32_t lvt, initial, irr;

	memcpy(&lvt, page->regs + APIC_LVT, 4);
	memcpy(&initial, page->regs + APIC_TICR, 4);
	memcpy(&irr, page->regs + APIC_IRR + (lvt & 0xff) / 32 * 16, 4);
	return initial && !(lvt & LVT_MASKED) && (lvt & LVT_TIMER_MODE) != LVT_TIMER_DEADLINE &&
	       !(irr >> (lvt & 31) & 1);
}

static bool count_is_zero(const struct kvm_lapic_state *page)
{
	uint32_t count;

	memcpy(&count, page->regs + APIC_TCCR, 4);
	return !count;
}

/*
 * A count of zero may mean that the interrupt was taken long ago, or that the host's timer
 * is due but has not run yet: hosts that are guests themselves are late by a millisecond.
 */
static int get_page(int vcpu_fd, struct kvm_lapic_state *page, struct errbuf *err)
{
	const struct timespec pause = {.tv_nsec = LATE_NS / LATE_ROUNDS};
	int ret = ioctl(vcpu_fd, KVM_GET_LAPIC, page);

	for (unsigned i = 0; !ret && i < LATE_ROUNDS && timer_may_be_due(page); i++) {
		if (i)
			nanosleep(&pause, NULL);
		settle_timer(vcpu_fd);
		ret = ioctl(vcpu_fd, KVM_GET_LAPIC, page);
		if (!count_is_zero(page))
			break;
	}
	return ret < 0 ? sysfail(err, "KVM_GET_LAPIC") : 0;
}

/*
 * A deadline that passes between reading the MSR and the page would be in both: hosts that
 * post timer interrupts need no KVM_RUN for it.  So the MSR decides, read again.
 */
static int get_page_and_msrs(int vcpu_fd, struct kvm_lapic_state *page, union msrs *m,
			     struct errbuf *err)
{
	int ret = get_msrs(vcpu_fd, m, err);

	if (!ret)
		ret = get_page(vcpu_fd, page, err);
	if (ret || !m->head.entries[1].data)
		return ret;
	ret = get_msrs(vcpu_fd, m, err);
	return !ret && !m->head.entries[1].data ? get_page(vcpu_fd, page, err) : ret;
}

int irqchip_kernel_fetch_lapic(struct irqchip *chip, unsigned cpu, int vcpu_fd, uint64_t now_ns,
			       struct errbuf *err)
{
	struct lapic *l = irqchip_kernel_lapic_object(chip, cpu);
	struct kvm_lapic_state page;
	union msrs m;
	int ret;

	if (!l)
		return err_set(err, -EINVAL, "local APIC %u: no such vCPU", cpu);
	ret = get_page_and_msrs(vcpu_fd, &page, &m, err);
	if (ret)
		return ret;
	l->base = m.head.entries[0].data;
	l->tsc_deadline = m.head.entries[1].data;
	l->timer_on = false;
	ret = lapic_from_page(l, now_ns, (const uint8_t *)page.regs);
	if (ret)
		return err_set(err, ret, "local APIC %u: KVM says it has another ID", cpu);
	if (l->tsc_deadline)
		deadline_to_ns(l, vcpu_fd, m.head.entries[2].data, now_ns);
	return 0;
}

int irqchip_kernel_store_lapic(struct irqchip *chip, unsigned cpu, int vcpu_fd, uint64_t now_ns,
			       struct errbuf *err)
{
	struct lapic *l = irqchip_kernel_lapic_object(chip, cpu);
	struct kvm_lapic_state page;
	int ret;

	if (!l)
		return err_set(err, -EINVAL, "local APIC %u: no such vCPU", cpu);
	ret = set_msr(vcpu_fd, MSR_APIC_BASE, l->base, err);
	if (ret)
		return ret;
	lapic_to_page(l, now_ns, (uint8_t *)page.regs);
	/* an initial count makes KVM start the timer, also one that has expired */
	if (!l->timer_on && (l->lvt[LVT_TIMER] & LVT_TIMER_MODE) != LVT_TIMER_DEADLINE)
		memset(page.regs + APIC_TICR, 0, 4);
	if (ioctl(vcpu_fd, KVM_SET_LAPIC, &page) < 0)
		return sysfail(err, "KVM_SET_LAPIC");
	return l->tsc_deadline ? set_msr(vcpu_fd, MSR_TSC_DEADLINE, l->tsc_deadline, err) : 0;
}
