/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - what firmware would have done: ACPI tables in the BIOS area, the kernel
 * in RAM, the BSP at its entry.
 *
 * The files stay open for the machine's life, because a reset loads them again from
 * inside the sandbox, where nothing can be opened.
 */
#include <errno.h>
#include <fcntl.h>

#include "dev/acpi/tables.h"
#include "dev/pci/pci.h"
#include "machine/internal.h"
#include "machine/loader/loader.h"

static int open_file(const char *what, const char *path, int *fd, struct errbuf *err)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	return *fd < 0 ? err_set(err, -errno, "%s '%s': %m", what, path) : 0;
}

int boot_open(struct machine *m, struct errbuf *err)
{
	int ret = 0;

	if (m->cfg.kernel)
		ret = open_file("kernel", m->cfg.kernel, &m->kernel_fd, err);
	if (!ret && m->cfg.initrd)
		ret = open_file("initrd", m->cfg.initrd, &m->initrd_fd, err);
	return ret;
}

static int write_tables(struct machine *m, struct errbuf *err)
{
	struct acpi_config c = {
		.ncpus = m->cfg.ncpus,
		.base = MAP_ACPI,
		.pm_port = MAP_PM_PORT,
		.sci_gsi = GSI_SCI,
		.ecam_base = PCI_ECAM_BASE,
		.ecam_size = PCI_ECAM_SIZE,
		.mmio32_base = PCI_MMIO32_BASE,
		.mmio32_size = PCI_MMIO32_SIZE,
		.mmio64_base = PCI_MMIO64_BASE,
		.mmio64_size = PCI_MMIO64_SIZE,
		.serial_port = MAP_SERIAL_PORT,
		.serial_gsi = GSI_SERIAL,
	};
	AUTO_PTR uint8_t *blob = NULL;
	size_t len;
	int ret = acpi_build(&c, &blob, &len, err);

	if (ret)
		return ret;
	ret = mem_write(m->mem, MAP_ACPI, blob, len);
	return ret ? err_set(err, ret, "ACPI tables do not fit") : 0;
}

int boot_load(struct machine *m, struct errbuf *err)
{
	uint64_t low = MIN(m->cfg.ram_bytes, MAP_LOW_RAM_END);
	struct loader_config c = {
		.kernel_fd = m->kernel_fd,
		.initrd_fd = m->initrd_fd,
		.kernel = m->cfg.kernel,
		.initrd = m->cfg.initrd,
		.append = m->cfg.append ? m->cfg.append : "",
		.ram_low = low,
		.ram_high = m->cfg.ram_bytes - low,
		.rsdp = MAP_ACPI,
	};
	struct cpu_state s;
	int ret;

	if (m->kernel_fd < 0)
		return 0; /* a saved state will be loaded */
	ret = write_tables(m, err);
	if (ret)
		return ret;
	if (m->cfg.engine->get_state(m->vcpu[0].ev, &s) < 0)
		return err_set(err, -EIO, "cpu0: registers cannot be read");
	ret = loader_load(m->mem, &c, &s, err);
	return ret ? ret : m->cfg.engine->set_state(m->vcpu[0].ev, &s, err);
}
