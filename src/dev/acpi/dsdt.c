// SPDX-License-Identifier: Apache-2.0
/*
 * dsdt.c - the machine in AML: PCI host bridge with windows and interrupt routing,
 * serial port, clock, ECAM reservation, soft-off.
 *
 * Processors are declared by the MADT alone.  INTx pin p of slot s is GSI
 * 16 + ((s + p) & 3), the same rule that dev/pci/ raises them by.
 *
 * Sources: ACPI 6.4, chapters 5.2.11, 6.1 to 6.2; PCI Firmware 3.2, 4.5 (_OSC).
 */
#include "dev/acpi/dsdt.h"

#include "dev/acpi/pm.h"

enum { PCI_SLOTS = 32, PCI_PINS = 4, GSI_INTX = 16 };
enum { OSC_ALL_CONTROL = 0x3f }; /* nothing of PCIe is the firmware's */
enum { OSC_UNKNOWN_UUID = 4, OSC_UNKNOWN_REVISION = 8, OSC_MASKED = 0x10 };
#define OSC_PCI_UUID "33db4d5b-1ff7-401c-9657-7441c03dd766"

static void name_hid(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisa_id(a, id);
}

static void pci_crs(struct aml *a, const struct acpi_config *c)
{
	struct aml r = {0};

	res_bus_range(&r, 0, (uint16_t)((c->ecam_size >> 20) - 1));
	res_io(&r, 0xcf8, 8);
	res_io_window(&r, 0x0000, 0x0cf7);
	res_io_window(&r, 0x0d00, 0xffff);
	res_mem32_window(&r, (uint32_t)c->mmio32_base, (uint32_t)c->mmio32_size);
	if (c->mmio64_size)
		res_mem64_window(&r, c->mmio64_base, c->mmio64_size);
	aml_crs(a, &r);
}

static void pci_prt(struct aml *a)
{
	size_t all;

	aml_name(a, "_PRT");
	all = aml_begin_package(a, PCI_SLOTS * PCI_PINS);
	for (unsigned i = 0; i < PCI_SLOTS * PCI_PINS; i++) {
		unsigned slot = i / PCI_PINS, pin = i % PCI_PINS;
		size_t one = aml_begin_package(a, 4);

		aml_int(a, slot << 16 | 0xffff);
		aml_int(a, pin);
		aml_int(a, 0); /* no link device: the next is a GSI */
		aml_int(a, GSI_INTX + ((slot + pin) & 3));
		aml_end(a, one);
	}
	aml_end(a, all);
}

/* Or (CDW1, @bit, CDW1). */
static void osc_flag(struct aml *a, unsigned bit)
{
	aml_or(a);
	aml_path(a, "CDW1");
	aml_int(a, bit);
	aml_path(a, "CDW1");
}

static void osc_grant(struct aml *a)
{
	size_t cond;

	aml_dword_field_of_arg(a, 3, 8, "CDW3");
	aml_and(a);
	aml_path(a, "CDW3");
	aml_int(a, OSC_ALL_CONTROL);
	aml_local(a, 0);
	cond = aml_begin_if(a);
	aml_not_equal(a);
	aml_arg(a, 1);
	aml_int(a, 1);
	osc_flag(a, OSC_UNKNOWN_REVISION);
	aml_end(a, cond);
	cond = aml_begin_if(a);
	aml_not_equal(a);
	aml_path(a, "CDW3");
	aml_local(a, 0);
	osc_flag(a, OSC_MASKED);
	aml_end(a, cond);
	aml_store(a);
	aml_local(a, 0);
	aml_path(a, "CDW3");
}

static void pci_osc(struct aml *a)
{
	size_t method = aml_begin_method(a, "_OSC", 4), cond;

	aml_dword_field_of_arg(a, 3, 0, "CDW1");
	cond = aml_begin_if(a);
	aml_equal(a);
	aml_arg(a, 0);
	aml_uuid(a, OSC_PCI_UUID);
	osc_grant(a);
	aml_end(a, cond);
	cond = aml_begin_else(a);
	osc_flag(a, OSC_UNKNOWN_UUID);
	aml_end(a, cond);
	aml_return(a);
	aml_arg(a, 3);
	aml_end(a, method);
}

static void pci_bridge(struct aml *a, const struct acpi_config *c)
{
	size_t dev = aml_begin_device(a, "PCI0");

	name_hid(a, "_HID", "PNP0A08");
	name_hid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	pci_crs(a, c);
	pci_prt(a);
	pci_osc(a);
	aml_end(a, dev);
}

/* What belongs to the board and no driver may be given. */
static void reservations(struct aml *a, const struct acpi_config *c)
{
	size_t dev = aml_begin_device(a, "MRES");
	struct aml r = {0};

	name_hid(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 1);
	res_mem64_fixed(&r, c->ecam_base, c->ecam_size);
	aml_crs(a, &r);
	aml_end(a, dev);
}

static void isa_device(struct aml *a, const char *name, const char *id, struct aml *res)
{
	size_t dev = aml_begin_device(a, name);

	name_hid(a, "_HID", id);
	aml_name_int(a, "_UID", 1);
	aml_name_int(a, "_STA", 0xf);
	aml_crs(a, res);
	aml_end(a, dev);
}

static void serial(struct aml *a, const struct acpi_config *c)
{
	struct aml r = {0};

	res_io(&r, c->serial_port, 8);
	res_irq(&r, c->serial_gsi);
	isa_device(a, "COM1", "PNP0501", &r);
}

static void rtc(struct aml *a)
{
	struct aml r = {0};

	res_io(&r, 0x70, 2);
	res_irq(&r, 8);
	isa_device(a, "RTC0", "PNP0B00", &r);
}

static void soft_off(struct aml *a)
{
	size_t pkg;

	aml_name(a, "\\_S5");
	pkg = aml_begin_package(a, 4);
	aml_int(a, PM_SLP_TYP_S5);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a, pkg);
}

void dsdt_build(struct aml *a, const struct acpi_config *cfg)
{
	size_t sb;

	soft_off(a);
	sb = aml_begin_scope(a, "\\_SB");
	pci_bridge(a, cfg);
	reservations(a, cfg);
	serial(a, cfg);
	rtc(a);
	aml_end(a, sb);
}
