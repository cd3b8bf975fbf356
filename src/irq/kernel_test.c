// SPDX-License-Identifier: Apache-2.0
/*
 * kernel_test.c - the irqchip over KVM: lines, messages, eventfd routes, and
 * carrying the controllers' registers to the software chip and back.
 *
 * Skipped where /dev/kvm cannot be opened.  No guest runs: KVM's registers are
 * looked at through its own ioctls.
 */
#include "irq/irq_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "irq/kernel.h"

struct kvm_world {
	int kvm, vm, vcpu;
	struct irqchip *chip;
};

static void close_world(struct kvm_world *w)
{
	irqchip_kernel_free(w->chip);
	if (w->vcpu >= 0)
		close(w->vcpu);
	if (w->vm >= 0)
		close(w->vm);
	if (w->kvm >= 0)
		close(w->kvm);
}

/* CPUID with APIC, x2APIC and TSC deadline, or KVM refuses their MSRs. */
static int set_cpuid(int vcpu)
{
	union {
		struct kvm_cpuid2 head;
		uint8_t room[sizeof(struct kvm_cpuid2) + 2 * sizeof(struct kvm_cpuid_entry2)];
	} c = {.head.nent = 2};

	c.head.entries[0] = (struct kvm_cpuid_entry2){.function = 0, .eax = 1};
	c.head.entries[1] = (struct kvm_cpuid_entry2){
		.function = 1,
		.eax = 0x600,
		.ecx = 1u << 21 | 1u << 24,
		.edx = 1u << 9 | 1u << 5,
	};
	return ioctl(vcpu, KVM_SET_CPUID2, &c);
}

static bool open_world(struct kvm_world *w)
{
	struct errbuf err = {0};

	*w = (struct kvm_world){-1, -1, -1, NULL};
	w->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (w->kvm < 0)
		return false;
	w->vm = ioctl(w->kvm, KVM_CREATE_VM, 0);
	assert_true(w->vm >= 0);
	assert_int_equal(ioctl(w->vm, KVM_CREATE_IRQCHIP), 0);
	w->vcpu = ioctl(w->vm, KVM_CREATE_VCPU, 0);
	assert_true(w->vcpu >= 0);
	assert_int_equal(set_cpuid(w->vcpu), 0);
	assert_int_equal(irqchip_kernel_new(w->vm, &w->chip, &err), 0);
	return true;
}

#define NEED_KVM(w)                                                                \
	do {                                                                       \
		if (!open_world(w)) {                                              \
			print_message("skipped: /dev/kvm: %s\n", strerror(errno)); \
			skip();                                                    \
		}                                                                  \
	} while (0)

static uint8_t pic_irr(struct kvm_world *w, unsigned unit)
{
	struct kvm_irqchip c = {.chip_id = unit};

	assert_int_equal(ioctl(w->vm, KVM_GET_IRQCHIP, &c), 0);
	return c.chip.pic.irr;
}

static uint32_t lapic_reg(struct kvm_world *w, uint32_t reg)
{
	struct kvm_lapic_state s;
	uint32_t val;

	assert_int_equal(ioctl(w->vcpu, KVM_GET_LAPIC, &s), 0);
	memcpy(&val, s.regs + reg, 4);
	return val;
}

static void set_lapic_reg(struct kvm_world *w, uint32_t reg, uint32_t val)
{
	struct kvm_lapic_state s;

	assert_int_equal(ioctl(w->vcpu, KVM_GET_LAPIC, &s), 0);
	memcpy(s.regs + reg, &val, 4);
	assert_int_equal(ioctl(w->vcpu, KVM_SET_LAPIC, &s), 0);
}

static void set_line(struct kvm_world *w, unsigned gsi, bool level)
{
	w->chip->ops->set_line(w->chip, gsi, level);
}

static void lines_reach_the_kernel_pic_and_ioapic(void **state)
{
	struct kvm_irqchip c = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_world w;

	NEED_KVM(&w);
	set_line(&w, 4, true);
	set_line(&w, 12, true);
	set_line(&w, 0, true);
	set_line(&w, 20, true);
	set_line(&w, 99, true);
	assert_true(pic_irr(&w, KVM_IRQCHIP_PIC_MASTER) & 1 << 4);
	assert_true(pic_irr(&w, KVM_IRQCHIP_PIC_SLAVE) & 1 << 4);
	assert_int_equal(ioctl(w.vm, KVM_GET_IRQCHIP, &c), 0);
	assert_int_equal(c.chip.ioapic.irr, 1 << 2 | 1 << 4 | 1 << 12 | 1 << 20);
	close_world(&w);
}

static void messages_reach_the_kernel_apic(void **state)
{
	struct kvm_world w;

	NEED_KVM(&w);
	set_lapic_reg(&w, APIC_SVR, 0x1ff);
	irqchip_send_msi(w.chip, (struct msi){0xfee00000, 0x41});
	assert_int_equal(lapic_reg(&w, APIC_IRR + 0x20), 1 << 1);
	close_world(&w);
}

static void an_eventfd_sends_its_message_until_it_is_unrouted(void **state)
{
	struct kvm_world w;
	int fd[3], route[3];

	NEED_KVM(&w);
	set_lapic_reg(&w, APIC_SVR, 0x1ff);
	for (unsigned i = 0; i < 3; i++) {
		struct msi m = {0xfee00000, 0x42 + i};

		fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_int_equal(w.chip->ops->msi_route(w.chip, m, fd[i], &route[i]), 0);
	}
	assert_int_equal(eventfd_write(fd[1], 1), 0);
	/* the kernel may hand the injection to a worker: wait until it has come */
	while (lapic_reg(&w, APIC_IRR + 0x20) != 1 << 3)
		usleep(1000);
	w.chip->ops->msi_unroute(w.chip, route[1], fd[1]);
	w.chip->ops->msi_unroute(w.chip, route[1], fd[1]); /* twice is harmless */
	w.chip->ops->msi_unroute(w.chip, -1, fd[1]);
	set_line(&w, 4, true); /* the wires' routes are still there */
	assert_true(pic_irr(&w, KVM_IRQCHIP_PIC_MASTER) & 1 << 4);
	assert_int_equal(
		w.chip->ops->msi_route(w.chip, (struct msi){0xfee00000, 0x45}, fd[1], &route[1]),
		0);
	assert_int_equal(eventfd_write(fd[1], 1), 0);
	while (lapic_reg(&w, APIC_IRR + 0x20) != (1 << 3 | 1 << 5))
		usleep(1000);
	for (unsigned i = 0; i < 3; i++) {
		w.chip->ops->msi_unroute(w.chip, route[i], fd[i]);
		close(fd[i]);
	}
	close_world(&w);
}

/* Copy all registers but the chip's link, as saving and loading does. */
static void move_registers(struct softchip *soft, struct kvm_world *w, bool to_kernel)
{
	struct pic *sp = softchip_pic_object(soft), *kp = irqchip_kernel_pic_object(w->chip);
	struct ioapic *si = softchip_ioapic_object(soft),
		      *ki = irqchip_kernel_ioapic_object(w->chip);
	struct softchip *chip;

	if (to_kernel) {
		*kp = *sp;
		*ki = *si;
		kp->chip = NULL;
		ki->chip = NULL;
		return;
	}
	chip = sp->chip;
	*sp = *kp;
	*si = *ki;
	sp->chip = si->chip = chip;
}

static void registers_move_between_the_software_and_the_kernel_chip(void **state)
{
	struct errbuf err = {0};
	struct fixture a, b;
	struct kvm_world w;
	struct pic *pa, *pb;

	NEED_KVM(&w);
	fx_init(&a);
	fx_init(&b);
	fx_init_pics(&a, 0x30, 0x38);
	pic_port_write(a.chip, 0x4d1, 0x0c);
	pic_port_write(a.chip, 0xa1, 0x50);
	fx_line(&a, 4, true);
	fx_line(&a, 11, true);
	assert_int_equal(softchip_ack(a.chip, 0), 0x3b);
	fx_rte(&a, 17, 1ULL << 56 | RTE_LEVEL | RTE_MASK | 0x71);
	fx_line(&a, 17, true);
	ioapic_mmio_write(a.chip, 0, 0x13);

	move_registers(a.chip, &w, true);
	assert_int_equal(irqchip_kernel_store(w.chip, &err), 0);
	memset(irqchip_kernel_pic_object(w.chip), 0, sizeof(struct pic));
	memset(irqchip_kernel_ioapic_object(w.chip), 0, sizeof(struct ioapic));
	assert_int_equal(irqchip_kernel_fetch(w.chip, &err), 0);
	move_registers(b.chip, &w, false);
	assert_int_equal(softchip_pic_state.post_load(softchip_pic_object(b.chip), &err), 0);
	assert_int_equal(softchip_ioapic_state.post_load(softchip_ioapic_object(b.chip), &err), 0);

	pa = softchip_pic_object(a.chip);
	pb = softchip_pic_object(b.chip);
	for (unsigned i = 0; i < 2; i++) {
		pb->unit[i].icw3 = pa->unit[i].icw3; /* KVM does not keep it */
		assert_memory_equal(&pa->unit[i], &pb->unit[i], sizeof(pa->unit[i]));
	}
	assert_int_equal(pa->output, pb->output);
	assert_true(fx_get_rte(&b, 17) == fx_get_rte(&a, 17));
	fx_fini(&a);
	fx_fini(&b);
	close_world(&w);
}

static void a_local_apic_moves_with_its_timer(void **state)
{
	struct errbuf err = {0};
	struct fixture a;
	struct kvm_world w;
	struct lapic *l, *k;

	NEED_KVM(&w);
	fx_init(&a);
	fx_enable_lapics(&a);
	lapic_mmio_write(a.chip, 0, APIC_TDCR, 0xb);
	lapic_mmio_write(a.chip, 0, APIC_LVT, LVT_MASKED | 0x40);
	lapic_mmio_write(a.chip, 0, APIC_TICR, 4000000000u);
	lapic_mmio_write(a.chip, 0, APIC_TPR, 0x60);
	irqchip_send_msi(a.irqchip, (struct msi){0xfee00000, 0x51});
	assert_int_equal(lapic_msr_write(a.chip, 0, 0x1b, 0xfee00d00), 0);

	l = softchip_lapic_object(a.chip, 0);
	k = irqchip_kernel_lapic_object(w.chip, 0);
	*k = *l;
	k->chip = NULL;
	assert_int_equal(irqchip_kernel_store_lapic(w.chip, 0, w.vcpu, a.clock.base_ns, &err), 0);
	memset(k, 0, sizeof(*k));
	assert_int_equal(irqchip_kernel_fetch_lapic(w.chip, 0, w.vcpu, a.clock.base_ns, &err), 0);
	assert_true(k->base == l->base);
	assert_int_equal(k->tpr, 0x60);
	assert_int_equal(k->svr, l->svr);
	assert_memory_equal(k->irr, l->irr, sizeof(k->irr));
	assert_memory_equal(k->lvt, l->lvt, sizeof(k->lvt));
	assert_true(k->timer_on);
	assert_true(k->timer_ns <= l->timer_ns && k->timer_ns > a.clock.base_ns);
	assert_int_equal(softchip_lapic_state.post_load(k, &err), 0);
	assert_true(irqchip_kernel_fetch_lapic(w.chip, 64, w.vcpu, 0, &err) < 0);
	fx_fini(&a);
	close_world(&w);
}

/* The vCPU was asked to stop, and its timer expired before the kernel looked at it again. */
static void a_timer_that_expired_behind_a_kick_is_not_lost(void **state)
{
	static uint8_t ram[65536] __attribute__((aligned(4096)));
	struct kvm_userspace_memory_region slot = {.memory_size = sizeof(ram),
						   .userspace_addr = (uintptr_t)ram};
	struct errbuf err = {0};
	struct kvm_run *run;
	struct kvm_world w;
	struct lapic *l;

	NEED_KVM(&w);
	assert_int_equal(ioctl(w.vm, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED, w.vcpu, 0);
	assert_true(run != MAP_FAILED);
	set_lapic_reg(&w, APIC_SVR, 0x1ff);
	set_lapic_reg(&w, APIC_TDCR, 0xb);
	set_lapic_reg(&w, APIC_LVT, 0x45); /* one shot */
	run->immediate_exit = 1;
	set_lapic_reg(&w, APIC_TICR, 10000); /* expires here or in a moment */
	while (lapic_reg(&w, APIC_TCCR))
		usleep(1000);
	usleep(20000);
	assert_int_equal(irqchip_kernel_fetch_lapic(w.chip, 0, w.vcpu, 0, &err), 0);
	l = irqchip_kernel_lapic_object(w.chip, 0);
	assert_true(l->irr[1] == 1 << 5);
	assert_false(l->timer_on);
	assert_int_equal(run->immediate_exit, 1); /* the request still stands */
	munmap(run, sizeof(*run));
	close_world(&w);
}

static void a_vm_without_controllers_is_refused_with_a_sentence(void **state)
{
	struct errbuf err = {0};
	struct irqchip *chip;
	int fd = open("/dev/null", O_RDWR);

	assert_true(irqchip_kernel_new(fd, &chip, &err) < 0);
	assert_int_not_equal(err.msg[0], 0);
	close(fd);
	irqchip_kernel_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_reach_the_kernel_pic_and_ioapic),
		cmocka_unit_test(messages_reach_the_kernel_apic),
		cmocka_unit_test(an_eventfd_sends_its_message_until_it_is_unrouted),
		cmocka_unit_test(registers_move_between_the_software_and_the_kernel_chip),
		cmocka_unit_test(a_local_apic_moves_with_its_timer),
		cmocka_unit_test(a_timer_that_expired_behind_a_kick_is_not_lost),
		cmocka_unit_test(a_vm_without_controllers_is_refused_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
