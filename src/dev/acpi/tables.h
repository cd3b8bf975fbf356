/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.h - ACPI 6.4 tables of the machine: RSDP XSDT FADT DSDT MADT MCFG (and FACS).
 *
 * Pure: configuration in, bytes out.  AML is assembled by aml.c.
 */
#pragma once

#include "base/err.h"

struct acpi_config {
	unsigned ncpus;
	uint64_t base;	  /* gpa where the blob will live, 4 KiB aligned, below 1 MiB */
	uint16_t pm_port; /* 0x600 */
	unsigned sci_gsi; /* 9 */
	uint64_t ecam_base, ecam_size;
	uint64_t mmio32_base, mmio32_size, mmio64_base, mmio64_size;
	uint16_t serial_port;
	unsigned serial_gsi;
};

/*
 * Build all tables into one blob to be copied to @base; the RSDP is at offset 0.
 * The caller frees *out.  At most 64 KiB.
 */
MUST_CHECK int acpi_build(const struct acpi_config *cfg, uint8_t **out, size_t *len,
			  struct errbuf *err);
