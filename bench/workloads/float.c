// SPDX-License-Identifier: Apache-2.0
/*
 * float.c - floating-point rows: scalar double and long double kernels.
 *
 * Checksums are over the results' bits: +, -, *, / and square root round the same way
 * everywhere.  The row of libm's functions rounds first, as libm has variants by CPU.
 */
#include "work.h"

#include <math.h>
#include <string.h>

static uint64_t work_nbody(struct run *run)
{
	double p[5][3] = {{0, 0, 0},
			  {4.84, -1.16, -0.10},
			  {8.34, 4.12, -0.40},
			  {12.89, -15.11, -0.22},
			  {15.37, -25.91, 0.17}};
	double v[5][3] = {{0, 0, 0},
			  {0.60, 2.81, -0.02},
			  {-1.01, 1.82, 0.008},
			  {1.08, 0.86, -0.01},
			  {0.97, 0.59, -0.03}};
	double m[5] = {39.47, 0.037, 0.011, 0.0017, 0.002};
	uint64_t sum = 0;

	for (unsigned step = 0; step < run->n; step++) {
		for (int i = 0; i < 5; i++)
			for (int j = i + 1; j < 5; j++) {
				double dx = p[i][0] - p[j][0], dy = p[i][1] - p[j][1];
				double dz = p[i][2] - p[j][2];
				double d2 = dx * dx + dy * dy + dz * dz;
				double mag = 0.001 / (d2 * sqrt(d2));

				v[i][0] -= dx * m[j] * mag;
				v[i][1] -= dy * m[j] * mag;
				v[i][2] -= dz * m[j] * mag;
				v[j][0] += dx * m[i] * mag;
				v[j][1] += dy * m[i] * mag;
				v[j][2] += dz * m[i] * mag;
			}
		for (int i = 0; i < 5; i++)
			for (int k = 0; k < 3; k++)
				p[i][k] += 0.001 * v[i][k];
	}
	for (int i = 0; i < 5; i++)
		sum = mix_double(sum, p[i][0] + p[i][1] + p[i][2]);
	return sum;
}

static double spectral_a(unsigned i, unsigned j)
{
	return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1);
}

static uint64_t work_spectral_norm(struct run *run)
{
	unsigned n = run->n;
	double *u = must_alloc(n * 8), *v = must_alloc(n * 8), uv = 0, vv = 0;

	for (unsigned i = 0; i < n; i++)
		u[i] = 1;
	run_start(run);
	for (int round = 0; round < 4; round++) {
		for (unsigned i = 0; i < n; i++) {
			v[i] = 0;
			for (unsigned j = 0; j < n; j++)
				v[i] += spectral_a(i, j) * u[j];
		}
		for (unsigned i = 0; i < n; i++) {
			u[i] = 0;
			for (unsigned j = 0; j < n; j++)
				u[i] += spectral_a(j, i) * v[j];
		}
	}
	for (unsigned i = 0; i < n; i++) {
		uv += u[i] * v[i];
		vv += v[i] * v[i];
	}
	return mix_double(0, sqrt(uv / vv));
}

/* Radix 2, in place, 4096 points; the twiddle factors come from half-angle formulas. */
static void fft(double *re, double *im, const double *cosine, const double *sine, unsigned n)
{
	for (unsigned i = 1, j = 0; i < n; i++) {
		unsigned bit = n >> 1;

		for (; j & bit; bit >>= 1)
			j ^= bit;
		j |= bit;
		if (i < j) {
			double t = re[i];

			re[i] = re[j], re[j] = t;
			t = im[i], im[i] = im[j], im[j] = t;
		}
	}
	for (unsigned len = 2; len <= n; len <<= 1)
		for (unsigned i = 0; i < n; i += len)
			for (unsigned k = 0; k < len / 2; k++) {
				unsigned a = i + k, b = a + len / 2, w = k * (n / len);
				double x = re[b] * cosine[w] - im[b] * sine[w];
				double y = re[b] * sine[w] + im[b] * cosine[w];

				re[b] = re[a] - x, im[b] = im[a] - y;
				re[a] += x, im[a] += y;
			}
}

static uint64_t work_fft(struct run *run)
{
	enum { N = 4096 };
	static double re[N], im[N], cosine[N / 2], sine[N / 2];
	double c = -1, s = 0; /* of pi, halved down to 2 pi / N */
	uint64_t sum = 0;

	for (unsigned n = N / 2; n > 1; n >>= 1) {
		s = sqrt((1 - c) / 2);
		c = sqrt((1 + c) / 2);
	}
	cosine[0] = 1;
	for (unsigned i = 1; i < N / 2; i++) {
		cosine[i] = cosine[i - 1] * c - sine[i - 1] * s;
		sine[i] = sine[i - 1] * c + cosine[i - 1] * s;
	}
	for (unsigned i = 0; i < N; i++)
		re[i] = (double)(i * 7919 % 101) / 101;
	run_start(run);
	for (unsigned r = 0; r < run->n; r++) {
		fft(re, im, cosine, sine, N);
		for (unsigned i = 0; i < N; i++)
			re[i] *= 1.0 / 64, im[i] *= 1.0 / 64;
	}
	run_stop(run);
	for (unsigned i = 0; i < N; i++)
		sum = mix_double(mix_double(sum, re[i]), im[i]);
	return sum;
}

static void fill(double *a, unsigned count)
{
	uint64_t seed = 3;

	for (unsigned i = 0; i < count; i++)
		a[i] = (double)(next_random(&seed) >> 40) / (1 << 24) + 0.5;
}

static uint64_t work_lu(struct run *run)
{
	unsigned n = run->n;
	double *a = must_alloc((size_t)n * n * 8);
	uint64_t sum = 0;

	fill(a, n * n);
	for (unsigned i = 0; i < n; i++)
		a[i * n + i] += n; /* dominant diagonal: needs no pivoting */
	run_start(run);
	for (unsigned k = 0; k < n; k++)
		for (unsigned i = k + 1; i < n; i++) {
			double f = a[i * n + k] /= a[k * n + k];

			for (unsigned j = k + 1; j < n; j++)
				a[i * n + j] -= f * a[k * n + j];
		}
	run_stop(run);
	for (unsigned i = 0; i < n; i++)
		sum = mix_double(sum, a[i * n + i]);
	return sum;
}

static uint64_t work_mandelbrot(struct run *run)
{
	uint64_t sum = 0;

	for (unsigned py = 0; py < run->n; py++)
		for (unsigned px = 0; px < run->n; px++) {
			double cx = px * 3.0 / run->n - 2.2, cy = py * 3.0 / run->n - 1.5;
			double x = 0, y = 0, x2 = 0, y2 = 0;
			unsigned i;

			for (i = 0; i < 200 && x2 + y2 < 4; i++) {
				y = 2 * x * y + cy;
				x = x2 - y2 + cx;
				x2 = x * x, y2 = y * y;
			}
			sum = mix(sum, i);
		}
	return sum;
}

static uint64_t work_matmul(struct run *run)
{
	enum { N = 128 };
	static double a[N][N], b[N][N], c[N][N];
	uint64_t sum = 0;

	fill(&a[0][0], N * N);
	fill(&b[0][0], N * N);
	run_start(run);
	for (unsigned r = 0; r < run->n; r++) {
		for (unsigned i = 0; i < N; i++)
			for (unsigned j = 0; j < N; j++) {
				double t = 0;

				for (unsigned k = 0; k < N; k++)
					t += a[i][k] * b[k][j];
				c[i][j] = t / N;
			}
		memcpy(a, c, sizeof(a));
	}
	run_stop(run);
	for (unsigned i = 0; i < N; i++)
		sum = mix_double(sum, c[i][i]);
	return sum;
}

/* Newton's iteration, sums and square roots in x87's 80 bits. */
static uint64_t work_x87(struct run *run)
{
	long double total = 0;

	for (unsigned i = 1; i <= run->n; i++) {
		long double x = i, y = x / 2;

		for (int k = 0; k < 4; k++)
			y = (y + x / y) / 2;
		total += y - sqrtl(x) * 0.5L;
	}
	return mix_double(0, (double)total);
}

static uint64_t work_libm(struct run *run)
{
	double total = 0;

	for (unsigned i = 1; i <= run->n; i++) {
		double x = i * (10.0 / run->n);

		total += sin(x) * exp(-x) + log(x) * pow(x, 0.3) + atan2(x, 3) + cos(x);
	}
	return (uint64_t)llround(total / run->n * 1e9);
}

const struct workload float_workloads[] = {
	{"nbody", 1500000, work_nbody},
	{"spectral-norm", 3000, work_spectral_norm},
	{"fft", 1500, work_fft},
	{"lu", 760, work_lu},
	{"mandelbrot", 1000, work_mandelbrot},
	{"matmul", 70, work_matmul},
	{"x87", 10000000, work_x87},
	{"libm", 2200000, work_libm},
	{0},
};
