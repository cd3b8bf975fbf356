/* SPDX-License-Identifier: Apache-2.0 */
/* devices.h - the platform devices' ops tables and configurations (virtio: virtio/virtio.h). */
#pragma once

#include "dev/dev.h"
#include "dev/chardev.h"

struct softchip;

struct serial_config { /* 16550A at @port, GSI @gsi (legacy/serial.c) */
	uint16_t port;
	unsigned gsi;
	struct chardev *chr; /* borrowed, may be NULL */
};
struct rtc_config {				/* MC146818 at 0x70, IRQ 8 (legacy/rtc.c) */
	uint64_t ram_low_bytes, ram_high_bytes; /* CMOS memory size bytes */
};
/* legacy/pit.c: i8254 at 0x40..0x43 and port 0x61, IRQ 0.  No config. */
/* legacy/i8042.c: only the reset pulse at port 0x64 and "no keyboard".  No config. */
struct pm_config {	  /* acpi/pm.c: PM1, PM timer, GPE0, sleep, reset register */
	uint16_t port;	  /* 0x600 */
	unsigned sci_gsi; /* 9 */
};
struct fw_cfg_config { /* legacy/fw_cfg.c at 0x510..0x51b, with DMA */
	int unused;
};
struct debug_exit_config { /* legacy/debug_exit.c at 0xf4 */
	uint16_t port;
};
struct softchip_dev_config { /* legacy/softchip_dev.c: PIC ports and IOAPIC page on the buses */
	struct softchip *chip;
};

extern const struct dev_ops serial_ops, rtc_ops, pit_ops, i8042_ops, pm_ops, fw_cfg_ops,
	debug_exit_ops, softchip_dev_ops;

/* Press the ACPI power button.  Any thread. */
void pm_power_button(struct device *pm);
/* Add file @name with @len bytes (copied).  Before the guest runs. */
MUST_CHECK int fw_cfg_add(struct device *fw, const char *name, const void *data, size_t len);
MUST_CHECK int fw_cfg_add_u64(struct device *fw, uint16_t key, uint64_t val);
