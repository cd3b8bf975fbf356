/* SPDX-License-Identifier: Apache-2.0 */
/* top.h - what the parts of "caisson top" share. */
#pragma once

#include <stdio.h>
#include "cli/vms.h"

/* Has @vm two samples, of which rates can be computed? */
bool top_ready(const struct vm *vm);

/*
 * A screen of text, lines of up to 79 characters: one VM's vCPUs, or a line a VM.
 * @nvms VMs that are top_ready().
 */
void top_show_vm(FILE *f, const struct vm *vm);
void top_show_all(FILE *f, struct vm *const *vms, unsigned nvms);
/* One line of JSON. */
void top_show_json(FILE *f, const struct vm *vm);
