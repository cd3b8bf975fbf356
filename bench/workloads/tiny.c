// SPDX-License-Identifier: Apache-2.0
/* tiny.c - the smallest program, linked statically and dynamically, for the exec rows. */
#ifdef WITH_LIBRARIES
#include <sqlite3.h>
#include <zlib.h>
#endif

int main(void)
{
#ifdef WITH_LIBRARIES
	return (zlibVersion()[0] == '1') + 2 * (sqlite3_libversion_number() > 3000000);
#else
	return 3;
#endif
}
