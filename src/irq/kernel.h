/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - the irqchip of a KVM machine: PIC, IOAPIC and local APICs in the kernel.
 *
 * Lines and messages go down by ioctl; MSIs can be bound to eventfds.  The
 * controllers' registers can be fetched into, and stored from, the same state
 * objects that the software chip has, so that they are saved by the same tables
 * (softchip_pic_state ...) and a machine can move between engines.
 */
#pragma once

#include "base/state.h"
#include "irq/irq.h"

enum { IRQCHIP_KERNEL_MAX_CPUS = 64 };

/*
 * @vm_fd: of a VM after KVM_CREATE_IRQCHIP; borrowed, outlives the chip.  Sets up
 * GSI routing: 0..15 to the PIC, 0 to IOAPIC pin 2, the others but 2 to their pin.
 * Line and message functions are for any thread.
 */
MUST_CHECK int irqchip_kernel_new(int vm_fd, struct irqchip **out, struct errbuf *err);
void irqchip_kernel_free(struct irqchip *chip);

/* Objects for softchip_pic_state, softchip_ioapic_state and softchip_lapic_state. */
void *irqchip_kernel_pic_object(struct irqchip *chip);
void *irqchip_kernel_ioapic_object(struct irqchip *chip);
void *irqchip_kernel_lapic_object(struct irqchip *chip, unsigned cpu);

/* PIC and IOAPIC: kernel to objects / objects to kernel.  While the VM is paused. */
MUST_CHECK int irqchip_kernel_fetch(struct irqchip *chip, struct errbuf *err);
MUST_CHECK int irqchip_kernel_store(struct irqchip *chip, struct errbuf *err);
/*
 * The same for vCPU @cpu's local APIC with IA32_APIC_BASE and IA32_TSC_DEADLINE.
 * @now_ns: VM time.  Fetch before the vCPU's registers are read: an interrupt that was
 * due may be handed to it.  Store after the vCPU's TSC was set.
 */
MUST_CHECK int irqchip_kernel_fetch_lapic(struct irqchip *chip, unsigned cpu, int vcpu_fd,
					  uint64_t now_ns, struct errbuf *err);
MUST_CHECK int irqchip_kernel_store_lapic(struct irqchip *chip, unsigned cpu, int vcpu_fd,
					  uint64_t now_ns, struct errbuf *err);
