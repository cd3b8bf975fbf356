/* SPDX-License-Identifier: Apache-2.0 */
/* hello.c - the smallest guest: says hello and ends. */
#include "guest.h"

int main(void)
{
	print("hello from the guest\n");
	return 0;
}
