// SPDX-License-Identifier: Apache-2.0
/*
 * softchip.c - the software irqchip: one lock around PIC, IOAPIC and local APICs,
 * and the wiring between them.
 *
 * GSI n reaches the PIC's input n (n < 16) and the IOAPIC's pin n, with the two
 * traditional exceptions of a PC: GSI 0 (the PIT) is IOAPIC pin 2, and GSI 2 is the
 * PIC's cascade and reaches nothing.  The PIC's INT goes to LINT0 of every
 * processor.  softchip_pending() reads one atomic flag a vCPU and takes no lock; a
 * flag that is true may be stale by the time softchip_ack() looks under the lock,
 * which then says -1.
 */
#include "irq/chip.h"

#include <errno.h>
#include "base/thread.h"

enum { MAX_CPUS = 255 }; /* 8-bit APIC IDs, 255 is broadcast */

/* --- lines and messages ------------------------------------------------------ */

void softchip_pic_changed(struct softchip *chip, bool level)
{
	for (unsigned i = 0; i < chip->ncpus; i++)
		lapic_pic_edge(&chip->lapic[i], level);
}

static void set_line(struct irqchip *irqchip, unsigned gsi, bool level)
{
	struct softchip *chip = container_of(irqchip, struct softchip, irqchip);
	LOCK_SCOPE(&chip->lock);

	if (gsi < 16)
		pic_set_line(&chip->pic, gsi, level);
	if (gsi != 2)
		ioapic_set_line(&chip->ioapic, gsi ? gsi : 2, level);
}

/* SDM vol. 3A, 11.11.1 and 11.11.2. */
static void send_msi(struct irqchip *irqchip, struct msi msi)
{
	struct softchip *chip = container_of(irqchip, struct softchip, irqchip);
	bool logical = msi.addr & 4, hint = msi.addr & 8;
	struct apic_msg msg = {
		.dest = (uint32_t)(msi.addr >> 12 & 0xff),
		.logical = logical,
		.level = msi.data & 1 << 15,
		.vector = (uint8_t)msi.data,
		.mode = (enum apic_dm)(msi.data >> 8 & 7),
	};

	if (msi.addr >> 20 != 0xfee)
		return; /* not an interrupt message */
	if (hint && logical && msg.mode == DM_FIXED)
		msg.mode = DM_LOWEST; /* redirection hint: one of the set */
	LOCK_SCOPE(&chip->lock);
	apic_deliver(chip, &msg);
}

/* No eventfd sends messages by itself here: devices call send_msi. */
static int msi_route(struct irqchip *irqchip, struct msi msi, int eventfd, int *route)
{
	return -ENOTSUP;
}

static void msi_unroute(struct irqchip *irqchip, int route, int eventfd)
{
}

static const struct irqchip_ops ops = {
	.set_line = set_line,
	.send_msi = send_msi,
	.msi_route = msi_route,
	.msi_unroute = msi_unroute,
};

/* --- life ----------------------------------------------------------------------- */

int softchip_new(const struct softchip_config *cfg, struct softchip **out)
{
	struct softchip *chip;

	if (!cfg->ncpus || cfg->ncpus > MAX_CPUS)
		return -EINVAL;
	chip = calloc(1, sizeof(*chip) + cfg->ncpus * sizeof(chip->lapic[0]));
	if (!chip)
		return -ENOMEM;
	chip->irqchip.ops = &ops;
	chip->cfg = *cfg;
	chip->ncpus = cfg->ncpus;
	pthread_mutex_init(&chip->lock, NULL);
	chip->pic.chip = chip;
	chip->ioapic.chip = chip;
	for (unsigned i = 0; i < chip->ncpus; i++) {
		chip->lapic[i].chip = chip;
		chip->lapic[i].index = i;
		lapic_timer_init(&chip->lapic[i], cfg->loop, cfg->clock);
	}
	softchip_reset(chip);
	*out = chip;
	return 0;
}

void softchip_free(struct softchip *chip)
{
	if (!chip)
		return;
	for (unsigned i = 0; i < chip->ncpus; i++)
		timer_stop(&chip->lapic[i].timer);
	pthread_mutex_destroy(&chip->lock);
	free(chip);
}

struct irqchip *softchip_irqchip(struct softchip *chip)
{
	return &chip->irqchip;
}

void softchip_reset(struct softchip *chip)
{
	LOCK_SCOPE(&chip->lock);

	/* the local APICs first: they refuse what the others' lines still ask for */
	for (unsigned i = 0; i < chip->ncpus; i++)
		lapic_reset(&chip->lapic[i], false);
	ioapic_reset(&chip->ioapic);
	pic_reset(&chip->pic);
	chip->next_lowest = 0;
}

void softchip_init_cpu(struct softchip *chip, unsigned cpu)
{
	LOCK_SCOPE(&chip->lock);
	lapic_reset(&chip->lapic[cpu], true);
}

/* --- what vCPUs ask ---------------------------------------------------------------- */

bool softchip_pending(struct softchip *chip, unsigned cpu)
{
	/* pairs with the store in lapic_update() */
	return __atomic_load_n(&chip->lapic[cpu].pending, __ATOMIC_ACQUIRE);
}

int softchip_ack(struct softchip *chip, unsigned cpu)
{
	if (!softchip_pending(chip, cpu))
		return -1;
	LOCK_SCOPE(&chip->lock);
	return lapic_take(&chip->lapic[cpu]);
}

/* Registers are 16 bytes apart; only their first four bytes exist. */
uint32_t lapic_mmio_read(struct softchip *chip, unsigned cpu, uint32_t off)
{
	struct lapic *l = &chip->lapic[cpu];
	LOCK_SCOPE(&chip->lock);

	if (!lapic_hw_enabled(l) || lapic_is_x2(l))
		return 0xffffffff;
	if (off > 0xfff || (off & 0xc))
		return 0;
	return lapic_read_reg(l, off & ~0xfu) >> ((off & 3) * 8);
}

void lapic_mmio_write(struct softchip *chip, unsigned cpu, uint32_t off, uint32_t val)
{
	struct lapic *l = &chip->lapic[cpu];
	LOCK_SCOPE(&chip->lock);

	if (!lapic_hw_enabled(l) || lapic_is_x2(l) || off > 0xfff || (off & 0xf))
		return;
	lapic_write_reg(l, off, val);
}

int lapic_msr_read(struct softchip *chip, unsigned cpu, uint32_t msr, uint64_t *val)
{
	LOCK_SCOPE(&chip->lock);
	return lapic_rdmsr(&chip->lapic[cpu], msr, val);
}

int lapic_msr_write(struct softchip *chip, unsigned cpu, uint32_t msr, uint64_t val)
{
	LOCK_SCOPE(&chip->lock);
	return lapic_wrmsr(&chip->lapic[cpu], msr, val);
}

unsigned lapic_get_cr8(struct softchip *chip, unsigned cpu)
{
	LOCK_SCOPE(&chip->lock);
	return chip->lapic[cpu].tpr >> 4;
}

void lapic_set_cr8(struct softchip *chip, unsigned cpu, unsigned cr8)
{
	LOCK_SCOPE(&chip->lock);
	lapic_write_reg(&chip->lapic[cpu], APIC_TPR, (cr8 & 15) << 4);
}

uint32_t ioapic_mmio_read(struct softchip *chip, uint32_t off)
{
	LOCK_SCOPE(&chip->lock);
	return ioapic_read(&chip->ioapic, off);
}

void ioapic_mmio_write(struct softchip *chip, uint32_t off, uint32_t val)
{
	LOCK_SCOPE(&chip->lock);
	ioapic_write(&chip->ioapic, off, val);
}

uint8_t pic_port_read(struct softchip *chip, uint16_t port)
{
	LOCK_SCOPE(&chip->lock);
	return pic_read(&chip->pic, port);
}

void pic_port_write(struct softchip *chip, uint16_t port, uint8_t val)
{
	LOCK_SCOPE(&chip->lock);
	pic_write(&chip->pic, port, val);
}
