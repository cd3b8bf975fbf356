// SPDX-License-Identifier: Apache-2.0
/*
 * kernel.c - lines and messages for interrupt controllers in the kernel (KVM).
 *
 * Lines are KVM_IRQ_LINE, messages KVM_SIGNAL_MSI.  An MSI bound to an eventfd
 * needs a GSI of its own in the VM's routing table, which KVM replaces as a whole;
 * the table is therefore kept here and sent again at every change.  Numbers below
 * IRQCHIP_LINES are the wires, those above are given out to MSIs.
 *
 * Source: the kernel's Documentation/virt/kvm/api.rst.
 */
#include "irq/kernel_chip.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/thread.h"

static void set_line(struct irqchip *irqchip, unsigned gsi, bool level)
{
	struct kernel_chip *k = to_kernel(irqchip);
	struct kvm_irq_level l = {.irq = gsi, .level = level};

	if (gsi < IRQCHIP_LINES && ioctl(k->vm_fd, KVM_IRQ_LINE, &l) < 0)
		log_debug(LOG_INT, "KVM_IRQ_LINE %u: %s", gsi, strerror(errno));
}

static void send_msi(struct irqchip *irqchip, struct msi msi)
{
	struct kernel_chip *k = to_kernel(irqchip);
	struct kvm_msi m = {
		.address_lo = (uint32_t)msi.addr,
		.address_hi = (uint32_t)(msi.addr >> 32),
		.data = msi.data,
	};

	/* a guest may program nonsense: nobody takes it */
	if (ioctl(k->vm_fd, KVM_SIGNAL_MSI, &m) < 0)
		log_debug(LOG_INT, "KVM_SIGNAL_MSI %#llx: %s", (unsigned long long)msi.addr,
			  strerror(errno));
}

/* --- routing table ------------------------------------------------------------- */

static void add_line_route(struct kvm_irq_routing *r, unsigned gsi, unsigned chip, unsigned pin)
{
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

static void add_line_routes(struct kvm_irq_routing *r)
{
	for (unsigned gsi = 0; gsi < 16; gsi++)
		add_line_route(r, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
			       gsi & 7);
	for (unsigned gsi = 0; gsi < IRQCHIP_LINES; gsi++)
		if (gsi != 2)
			add_line_route(r, gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
}

static int send_routes_locked(struct kernel_chip *k)
{
	AUTO_PTR struct kvm_irq_routing *r =
		calloc(1, sizeof(*r) + (KERNEL_LINE_ROUTES + KERNEL_MAX_MSI) *
					       sizeof(struct kvm_irq_routing_entry));

	if (!r)
		return -ENOMEM;
	add_line_routes(r);
	for (unsigned i = 0; i < KERNEL_MAX_MSI; i++) {
		if (!k->used[i])
			continue;
		r->entries[r->nr++] = (struct kvm_irq_routing_entry){
			.gsi = KERNEL_FIRST_MSI_GSI + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)k->msi[i].addr,
				  .address_hi = (uint32_t)(k->msi[i].addr >> 32),
				  .data = k->msi[i].data},
		};
	}
	return ioctl(k->vm_fd, KVM_SET_GSI_ROUTING, r) < 0 ? -errno : 0;
}

static int bind_fd(struct kernel_chip *k, unsigned i, int eventfd, uint32_t flags)
{
	struct kvm_irqfd f = {
		.fd = (uint32_t)eventfd,
		.gsi = KERNEL_FIRST_MSI_GSI + i,
		.flags = flags,
	};

	return ioctl(k->vm_fd, KVM_IRQFD, &f) < 0 ? -errno : 0;
}

static int msi_route(struct irqchip *irqchip, struct msi msi, int eventfd, int *route)
{
	struct kernel_chip *k = to_kernel(irqchip);
	unsigned i = 0;
	int ret;
	LOCK_SCOPE(&k->lock);

	while (i < KERNEL_MAX_MSI && k->used[i])
		i++;
	if (i == KERNEL_MAX_MSI)
		return -ENOSPC;
	k->used[i] = true;
	k->msi[i] = msi;
	ret = send_routes_locked(k);
	if (!ret)
		ret = bind_fd(k, i, eventfd, 0);
	if (ret)
		k->used[i] = false; /* the entry goes with the next change of the table */
	else
		*route = (int)i;
	return ret;
}

static void msi_unroute(struct irqchip *irqchip, int route, int eventfd)
{
	struct kernel_chip *k = to_kernel(irqchip);
	int ret;
	LOCK_SCOPE(&k->lock);

	if (route < 0 || route >= KERNEL_MAX_MSI || !k->used[route])
		return;
	ret = bind_fd(k, (unsigned)route, eventfd, KVM_IRQFD_FLAG_DEASSIGN);
	k->used[route] = false;
	if (!ret)
		ret = send_routes_locked(k);
	if (ret)
		log_debug(LOG_INT, "MSI route %d: %s", route, strerror(-ret));
}

static const struct irqchip_ops ops = {
	.set_line = set_line,
	.send_msi = send_msi,
	.msi_route = msi_route,
	.msi_unroute = msi_unroute,
};

/* --- life ------------------------------------------------------------------------- */

int irqchip_kernel_new(int vm_fd, struct irqchip **out, struct errbuf *err)
{
	struct kernel_chip *k = calloc(1, sizeof(*k));
	int ret;

	if (!k)
		return err_set(err, -ENOMEM, "kernel irqchip");
	k->irqchip.ops = &ops;
	k->vm_fd = vm_fd;
	pthread_mutex_init(&k->lock, NULL);
	for (unsigned i = 0; i < IRQCHIP_KERNEL_MAX_CPUS; i++)
		k->lapic[i].index = i;
	ret = send_routes_locked(k);
	if (ret) {
		irqchip_kernel_free(&k->irqchip);
		return err_set(err, ret,
			       "kernel irqchip: cannot set interrupt routing: %s; does this VM "
			       "have KVM's interrupt controllers?",
			       strerror(-ret));
	}
	*out = &k->irqchip;
	return 0;
}

void irqchip_kernel_free(struct irqchip *chip)
{
	struct kernel_chip *k;

	if (!chip)
		return;
	k = to_kernel(chip);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

void *irqchip_kernel_pic_object(struct irqchip *chip)
{
	return &to_kernel(chip)->pic;
}

void *irqchip_kernel_ioapic_object(struct irqchip *chip)
{
	return &to_kernel(chip)->ioapic;
}

void *irqchip_kernel_lapic_object(struct irqchip *chip, unsigned cpu)
{
	return cpu < IRQCHIP_KERNEL_MAX_CPUS ? &to_kernel(chip)->lapic[cpu] : NULL;
}
