/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - can this host run translated code? */
#pragma once

#include "base/err.h"

/* 0, or -ENOTSUP with a clause that says what is missing.  Any thread. */
MUST_CHECK int dbt_probe(struct errbuf *err);
