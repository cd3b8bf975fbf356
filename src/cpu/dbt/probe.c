/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - can this host run translated code?
 *
 * Apart from the rest because <elf.h> has other ideas of what PF_W means.
 */
#include <errno.h>
#include <sys/auxv.h>

#include "cpu/dbt/probe.h"

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif

/* Translated code reaches its vCPU through GS, which is set each time a vCPU runs. */
int dbt_probe(struct errbuf *err)
{
	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
		return err_set(
			err, -ENOTSUP,
			"the CPU or the kernel offers no WRGSBASE (Linux 5.9 or newer does)");
	return 0;
}
