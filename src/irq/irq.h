/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq.h - interrupt lines, messages, and the controllers behind them.
 *
 * Devices raise lines (struct irq_line) and send messages (MSI) without knowing
 * which controllers exist: PIC, IOAPIC and local APICs in software, or the
 * kernel's with KVM.  Both sides of that choice implement struct irqchip.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

/* One wire into a controller.  @set may be called from any thread. */
struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

static inline void irq_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->ctx, l->pin, level);
}

/* A message: what a PCI function's MSI-X table entry holds (SDM vol. 3A, 11.11). */
struct msi {
	uint64_t addr;
	uint32_t data;
};

enum { IRQCHIP_LINES = 24 }; /* GSIs: 0..15 reach PIC and IOAPIC, 16..23 the IOAPIC */

struct irqchip;
struct irqchip_ops {
	void (*set_line)(struct irqchip *chip, unsigned gsi, bool level);
	void (*send_msi)(struct irqchip *chip, struct msi msi);
	/* An eventfd that sends @msi when written, or -errno (then call send_msi).  kvm. */
	int (*msi_route)(struct irqchip *chip, struct msi msi, int eventfd, int *route);
	void (*msi_unroute)(struct irqchip *chip, int route, int eventfd);
};

struct irqchip {
	const struct irqchip_ops *ops;
};

/* The wire of GSI @gsi. */
static inline void irqchip_line_set(void *ctx, unsigned pin, bool level)
{
	struct irqchip *chip = ctx;

	chip->ops->set_line(chip, pin, level);
}

static inline struct irq_line irqchip_line(struct irqchip *chip, unsigned gsi)
{
	return (struct irq_line){irqchip_line_set, chip, gsi};
}

static inline void irqchip_send_msi(struct irqchip *chip, struct msi msi)
{
	chip->ops->send_msi(chip, msi);
}
