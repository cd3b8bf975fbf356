/* SPDX-License-Identifier: Apache-2.0 */
/* net.c - what all network back ends have in common. */
#include "net/net.h"

void net_free(struct net *n)
{
	if (n)
		n->ops->free(n);
}
