/* SPDX-License-Identifier: Apache-2.0 */
/* dsdt.h - the DSDT's definitions (tables.c only). */
#pragma once

#include "dev/acpi/aml.h"
#include "dev/acpi/tables.h"

/* Append the definition block's body, without the table header.  See aml.failed. */
void dsdt_build(struct aml *a, const struct acpi_config *cfg);
