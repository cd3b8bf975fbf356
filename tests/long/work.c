/* SPDX-License-Identifier: Apache-2.0 */
/* work.c - integers, doubles, threads and library calls with answers known beforehand. */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRIMES_BELOW = 2000000, THREADS = 4, ADDS = 200000, SORTED = 100000, SIDE = 96 };

static atomic_ulong total;

static void *add(void *arg)
{
	for (unsigned n = 0; n < ADDS; n++)
		atomic_fetch_add(&total, (unsigned long)(size_t)arg);
	return NULL;
}

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static unsigned primes(void)
{
	char *composite = calloc(PRIMES_BELOW, 1);
	unsigned count = 0;

	for (unsigned n = 2; composite && n < PRIMES_BELOW; n++) {
		if (composite[n])
			continue;
		count++;
		for (unsigned long m = (unsigned long)n * n; m < PRIMES_BELOW; m += n)
			composite[m] = 1;
	}
	free(composite);
	return count;
}

static void threads(void)
{
	pthread_t t[THREADS];

	for (size_t n = 0; n < THREADS; n++)
		pthread_create(&t[n], NULL, add, (void *)(n + 1));
	for (unsigned n = 0; n < THREADS; n++)
		pthread_join(t[n], NULL);
	printf("threads %lu\n", atomic_load(&total));
}

static void sorting(void)
{
	uint64_t *v = malloc(SORTED * sizeof(*v)), s = 88172645463325252, fold = 0;

	for (unsigned n = 0; v && n < SORTED; n++)
		v[n] = next(&s);
	if (v)
		qsort(v, SORTED, sizeof(*v), compare);
	for (unsigned n = 0; v && n < SORTED; n++)
		fold = fold * 31 + (v[n] ^ n) + (n && v[n] < v[n - 1]);
	printf("sorted %016" PRIx64 "\n", fold);
	free(v);
}

static void matrices(void)
{
	static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
	double trace = 0, norm = 0;

	for (int i = 0; i < SIDE; i++) {
		for (int j = 0; j < SIDE; j++) {
			a[i][j] = 1.0 / (i + j + 1);
			b[i][j] = sqrt(i * SIDE + j) - 7;
		}
	}
	for (int i = 0; i < SIDE; i++)
		for (int k = 0; k < SIDE; k++)
			for (int j = 0; j < SIDE; j++)
				c[i][j] += a[i][k] * b[k][j];
	for (int i = 0; i < SIDE; i++) {
		trace += c[i][i];
		for (int j = 0; j < SIDE; j++)
			norm += c[i][j] * c[i][j];
	}
	printf("matrices %a %a %.17g\n", trace, sqrt(norm), norm);
}

static void numbers(void)
{
	unsigned __int128 p = 1;
	long double e = 1, term = 1;
	int64_t q = INT64_MIN + 5;

	for (unsigned n = 0; n < 100; n++)
		p = p * 0x9e3779b97f4a7c15u + n;
	for (int n = 1; n < 30; n++)
		e += term /= n;
	printf("wide %016" PRIx64 "%016" PRIx64 "\n", (uint64_t)(p >> 64), (uint64_t)p);
	printf("long double %.20Lf %La\n", e, e);
	printf("division %" PRId64 " %" PRId64 " %d\n", q / 977, q % 977, __builtin_popcountll(p));
	printf("text %s %.3e %d\n", strstr("unmodified Debian", "fied"), strtod("1e-310", NULL),
	       atoi("-2147483648"));
}

int main(void)
{
	printf("primes %u\n", primes());
	threads();
	sorting();
	matrices();
	numbers();
	return 0;
}
