/* SPDX-License-Identifier: Apache-2.0 */
/* crc32c.h - CRC-32C (Castagnoli), as iSCSI and ext4 use it (RFC 3720, B.4). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Go on from @crc (0 to begin). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
