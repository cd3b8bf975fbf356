/* SPDX-License-Identifier: Apache-2.0 */
/* idle.c - says so and halts with interrupts on, for tests of what surrounds a VM. */
#include "guest.h"

int main(void)
{
	idt_init();
	print("idle\n");
	for (;;)
		wait_interrupt();
}
