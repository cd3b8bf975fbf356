// SPDX-License-Identifier: Apache-2.0
/*
 * vector.c - vector and crypto rows: SSE2, SSSE3, AVX2, AES-NI by intrinsics, glibc's string
 * functions and OpenSSL, which choose by CPUID.  A row says skip where the CPU lacks its set.
 */
#include "work.h"

#include <immintrin.h>
#include <string.h>

enum { FLOATS = 4096 };

static float *make_floats(uint64_t seed)
{
	float *v = must_alloc(FLOATS * sizeof(*v));

	for (unsigned i = 0; i < FLOATS; i++)
		v[i] = (float)(next_random(&seed) >> 48) / 65536.0f;
	return v;
}

static uint64_t work_saxpy_sse(struct run *run)
{
	float *x = make_floats(1), *y = make_floats(2);
	__m128 a = _mm_set1_ps(0.001f);

	run_start(run);
	for (unsigned r = 0; r < run->n; r++)
		for (unsigned i = 0; i < FLOATS; i += 4)
			_mm_store_ps(y + i, _mm_add_ps(_mm_mul_ps(a, _mm_load_ps(x + i)),
						       _mm_load_ps(y + i)));
	run_stop(run);
	return hash_bytes(y, FLOATS * sizeof(*y));
}

static uint64_t work_dot_sse2(struct run *run)
{
	float *x = make_floats(1), *y = make_floats(2), out[4];
	__m128d low = _mm_setzero_pd(), high = low;

	run_start(run);
	for (unsigned r = 0; r < run->n; r++)
		for (unsigned i = 0; i < FLOATS; i += 4) {
			__m128 p = _mm_mul_ps(_mm_load_ps(x + i), _mm_load_ps(y + i));

			low = _mm_add_pd(low, _mm_cvtps_pd(p));
			high = _mm_add_pd(high, _mm_cvtps_pd(_mm_movehl_ps(p, p)));
		}
	run_stop(run);
	_mm_storeu_ps(out, _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high)));
	return hash_bytes(out, sizeof(out));
}

__attribute__((target("avx2,fma"))) static void saxpy_fma(float *y, const float *x, unsigned n)
{
	__m256 a = _mm256_set1_ps(0.001f);

	for (unsigned r = 0; r < n; r++)
		for (unsigned i = 0; i < FLOATS; i += 8)
			_mm256_store_ps(y + i, _mm256_fmadd_ps(a, _mm256_load_ps(x + i),
							       _mm256_load_ps(y + i)));
}

static uint64_t work_saxpy_avx2(struct run *run)
{
	float *x = make_floats(1), *y = make_floats(2);

	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
		run->skip = "no AVX2 or FMA";
		return 0;
	}
	run_start(run);
	saxpy_fma(y, x, run->n);
	run_stop(run);
	return hash_bytes(y, FLOATS * sizeof(*y));
}

enum { PIXELS = 64 << 10 };

static uint8_t *make_pixels(uint64_t seed)
{
	uint8_t *p = must_alloc(PIXELS + 64);

	for (unsigned i = 0; i < PIXELS; i++)
		p[i] = (uint8_t)(next_random(&seed) >> 56);
	return p;
}

/* Sums of absolute differences and averages of bytes: video's inner loop. */
static uint64_t work_sad_sse2(struct run *run)
{
	uint8_t *a = make_pixels(1), *b = make_pixels(2);
	__m128i sum = _mm_setzero_si128();
	uint64_t out[2];

	run_start(run);
	for (unsigned r = 0; r < run->n; r++)
		for (unsigned i = 0; i < PIXELS; i += 16) {
			__m128i x = _mm_load_si128((__m128i *)(a + i));
			__m128i y = _mm_loadu_si128((__m128i *)(b + i + 3));

			sum = _mm_add_epi64(sum, _mm_sad_epu8(x, y));
			_mm_store_si128((__m128i *)(a + i), _mm_avg_epu8(x, _mm_slli_epi16(y, 1)));
		}
	run_stop(run);
	_mm_storeu_si128((__m128i *)out, sum);
	return mix(hash_bytes(a, PIXELS), out[0] + out[1]);
}

__attribute__((target("avx2"))) static void filter_avx2(uint8_t *a, const uint8_t *b, unsigned n)
{
	__m256i weights = _mm256_set1_epi16(0x0305), round = _mm256_set1_epi16(4);

	for (unsigned r = 0; r < n; r++)
		for (unsigned i = 0; i < PIXELS; i += 32) {
			__m256i x = _mm256_load_si256((__m256i *)(a + i));
			__m256i y = _mm256_loadu_si256((__m256i *)(b + i + 1));
			__m256i lo = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x, y), weights);
			__m256i hi = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x, y), weights);

			lo = _mm256_srai_epi16(_mm256_adds_epi16(lo, round), 3);
			hi = _mm256_srai_epi16(_mm256_adds_epi16(hi, round), 3);
			x = _mm256_max_epu8(_mm256_packus_epi16(lo, hi), _mm256_srli_epi32(x, 5));
			_mm256_store_si256((__m256i *)(a + i), x);
		}
}

static uint64_t work_filter_avx2(struct run *run)
{
	uint8_t *a = make_pixels(1), *b = make_pixels(2);

	if (!__builtin_cpu_supports("avx2")) {
		run->skip = "no AVX2";
		return 0;
	}
	run_start(run);
	filter_avx2(a, b, run->n);
	run_stop(run);
	return hash_bytes(a, PIXELS);
}

/* Bytes to hexadecimal digits by PSHUFB. */
__attribute__((target("ssse3"))) static void hex_ssse3(uint8_t *out, const uint8_t *in, unsigned n)
{
	__m128i digits = _mm_setr_epi8('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b',
				       'c', 'd', 'e', 'f');
	__m128i nibble = _mm_set1_epi8(15);

	for (unsigned r = 0; r < n; r++)
		for (unsigned i = 0; i < PIXELS / 2; i += 16) {
			__m128i x = _mm_xor_si128(_mm_load_si128((__m128i *)(in + i)),
						  _mm_load_si128((__m128i *)(out + i)));
			__m128i lo = _mm_shuffle_epi8(digits, _mm_and_si128(x, nibble));
			__m128i hi = _mm_srli_epi16(x, 4);

			hi = _mm_shuffle_epi8(digits, _mm_and_si128(hi, nibble));
			_mm_store_si128((__m128i *)(out + 2 * i), _mm_unpacklo_epi8(hi, lo));
			_mm_store_si128((__m128i *)(out + 2 * i + 16), _mm_unpackhi_epi8(hi, lo));
		}
}

static uint64_t work_hex_ssse3(struct run *run)
{
	uint8_t *in = make_pixels(1), *out = make_pixels(2);

	if (!__builtin_cpu_supports("ssse3")) {
		run->skip = "no SSSE3";
		return 0;
	}
	run_start(run);
	hex_ssse3(out, in, run->n);
	run_stop(run);
	return hash_bytes(out, PIXELS);
}

/* AES-128 in counter mode, four blocks at a time. */
__attribute__((target("aes"))) static uint64_t aes_ctr(unsigned n)
{
	__m128i key[11], sum = _mm_setzero_si128();
	uint64_t out[2];

	for (unsigned i = 0; i < 11; i++)
		key[i] = _mm_set_epi64x((long long)mix(i, 1), (long long)mix(i, 2));
	for (unsigned r = 0; r < n; r++) {
		__m128i b[4];

		for (unsigned k = 0; k < 4; k++)
			b[k] = _mm_xor_si128(_mm_set_epi64x(0, r * 4LL + k), key[0]);
		for (unsigned i = 1; i < 10; i++)
			for (unsigned k = 0; k < 4; k++)
				b[k] = _mm_aesenc_si128(b[k], key[i]);
		for (unsigned k = 0; k < 4; k++)
			sum = _mm_xor_si128(sum, _mm_aesenclast_si128(b[k], key[10]));
	}
	_mm_storeu_si128((__m128i *)out, sum);
	return out[0] ^ out[1];
}

static uint64_t work_aes_ni(struct run *run)
{
	/* asked of CPUID itself: clang 14's built-in does not know the name "aes" */
	unsigned a = 1, b, c = 0, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (!(c & 1U << 25)) {
		run->skip = "no AES-NI";
		return 0;
	}
	return aes_ctr(run->n);
}

/* glibc's string functions, which are vector code. */
static uint64_t work_strings(struct run *run)
{
	enum { BYTES = 32 << 10 };
	char *text = must_alloc(BYTES + 64), *copy = must_alloc(BYTES + 64);
	uint64_t sum = 0;

	make_text(text, BYTES);
	run_start(run);
	for (unsigned r = 0; r < run->n; r++) {
		text[r % BYTES] ^= 1;
		memcpy(copy, text + r % 32, BYTES - 32);
		copy[BYTES - 32] = 0;
		sum += strlen(copy) + (size_t)(memchr(text, '@', BYTES) != NULL);
		for (const char *p = copy; (p = strchr(p, '\n')); p++)
			sum += (uint64_t)(p - copy);
		sum += memcmp(copy, text + r % 32, BYTES - 32) == 0;
	}
	return sum;
}

const struct workload vector_workloads[] = {
	{"saxpy-sse", 120000, work_saxpy_sse},	  {"dot-sse2", 120000, work_dot_sse2},
	{"saxpy-avx2", 400000, work_saxpy_avx2},  {"sad-sse2", 30000, work_sad_sse2},
	{"filter-avx2", 40000, work_filter_avx2}, {"hex-ssse3", 50000, work_hex_ssse3},
	{"strings", 20000, work_strings},	  {"aes-ni", 5000000, work_aes_ni},
	{"aes-gcm", 20000, work_aes_gcm},	  {"chacha20", 15000, work_chacha},
	{"sha256", 10000, work_sha256},		  {0},
};
