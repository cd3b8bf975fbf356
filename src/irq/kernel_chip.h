/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_chip.h - what kernel.c and kernel_state.c share. */
#pragma once

#include <linux/kvm.h>
#include "irq/chip.h"
#include "irq/kernel.h"

enum { KERNEL_FIRST_MSI_GSI = IRQCHIP_LINES, KERNEL_MAX_MSI = 1024 };
enum { KERNEL_LINE_ROUTES = 16 + IRQCHIP_LINES - 1 };

struct kernel_chip { /* @lock guards the routes; objects: while paused */
	struct irqchip irqchip;
	int vm_fd;
	pthread_mutex_t lock;
	bool used[KERNEL_MAX_MSI];
	struct msi msi[KERNEL_MAX_MSI];
	struct pic pic;
	struct ioapic ioapic;
	struct lapic lapic[IRQCHIP_KERNEL_MAX_CPUS];
};

static inline struct kernel_chip *to_kernel(struct irqchip *irqchip)
{
	return container_of(irqchip, struct kernel_chip, irqchip);
}
