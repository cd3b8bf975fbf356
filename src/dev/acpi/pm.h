/* SPDX-License-Identifier: Apache-2.0 */
/* pm.h - layout of the ACPI register block; pm.c implements it, tables.c tells the guest. */
#pragma once

enum {			/* offsets from pm_config.port */
       PM_EVENT = 0x00, /* PM1a status, enable: 2 + 2 bytes */
       PM_EVENT_LEN = 4,
       PM_CONTROL = 0x04,
       PM_CONTROL_LEN = 2,
       PM_TIMER = 0x08,
       PM_TIMER_LEN = 4,
       PM_GPE0 = 0x0c, /* status, enable: 2 + 2 bytes */
       PM_GPE0_LEN = 4,
       PM_RESET = 0x10,
       PM_BLOCK_LEN = 0x14,
};
enum { PM_RESET_VALUE = 1 }; /* written to PM_RESET */
enum { PM_SLP_TYP_S5 = 5 };  /* value of \_S5 */
