/* SPDX-License-Identifier: Apache-2.0 */
/* user.c - ring 3 and back: INT n, SYSCALL and SYSRET. */
#include "user.h"

#include "guest.h"

int main(void)
{
	idt_init();
	tss_init(0);
	user_init();
	idt_set_dpl(0x80, 3);

	user_run(user_int);
	print_line("INT: vector", user.vector);
	print_line("behind", user.rip);

	user_run(user_syscall);
	print_line("SYSCALL: vector", user.vector);
	print_line("RCX", user.rcx);
	print_line("R11", user.r11);
	print_line("CS", user.cs);
	print_line("SS", user.ss);

	user_run(user_sysret);
	print_line("SYSRET: RAX", user.rax);
	print_line("RCX", user.rcx);
	print("user done\n");
	return 0;
}
