/* SPDX-License-Identifier: Apache-2.0 */
/* loader_fuzz.c - any bytes as a kernel: a state to start in or a sentence, never more. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "machine/loader/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	AUTO(mem) struct mem *mem = NULL;
	AUTO_FD int fd = memfd_create("kernel", MFD_CLOEXEC);
	struct loader_config cfg = {.kernel_fd = fd,
				    .initrd_fd = -1,
				    .kernel = "fuzz",
				    .append = "console=ttyS0",
				    .ram_low = 32 << 20,
				    .rsdp = 0xe0000};
	struct errbuf err = {0};
	struct cpu_state s = {0};

	if (fd < 0 || write(fd, data, len) != (ssize_t)len || mem_new(&mem) < 0 ||
	    mem_add_ram(mem, "ram", 0, cfg.ram_low, NULL) < 0)
		return 0;
	if (loader_load(mem, &cfg, &s, &err) < 0 && !err.msg[0])
		__builtin_trap();
	return 0;
}
