/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - run a few instructions in ring 3 and come back with what ended them.
 *
 * user_init() maps a page of code and one of stack for the user at USER_BASE.
 * user_run() goes there by IRETQ; any exception or interrupt that arrives in ring 3
 * ends it and is described in @user, as does SYSCALL.
 */
#pragma once

#include <stdint.h>

#define USER_BASE 0x410000000000ULL /* PML4 entry 130 */

struct user_result {
	uint64_t vector; /* 0x1000: SYSCALL */
	uint64_t error, cs, ss, cr2;
	uint64_t rip; /* within the snippet */
	uint64_t rcx, r11, rax;
};
extern struct user_result user;

/* Snippets of ring 3 code, position-independent. */
extern uint8_t user_ud[], user_hlt[], user_read_kernel[], user_divide[], user_int[], user_syscall[],
	user_sysret[], user_spin[];

/* A TSS with ring 0 stack, IST1 = @ist1; loads TR. */
void tss_init(uint64_t ist1);
void user_init(void);
void user_run(const uint8_t *snippet);
