# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of many kinds; prints the same lines on every right machine."""
import decimal
import fractions
import functools
import hashlib
import json
import math
import operator
import random
import struct
import zlib

rng = random.Random(2026)
data = bytes(rng.getrandbits(8) for _ in range(200000))
for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s"):
    print(name, hashlib.new(name, data).hexdigest())
print("pbkdf2", hashlib.pbkdf2_hmac("sha256", b"caisson", data[:16], 2000).hex())
print("crc32", zlib.crc32(data), "adler32", zlib.adler32(data))
packed = zlib.compress(data[:5000] * 20, 9)
print("zlib", len(packed) < 8000, zlib.decompress(packed) == data[:5000] * 20)

# big integers: a Mersenne prime, a modular power, 2000 digits
p = (1 << 2203) - 1
s = 4
for _ in range(2201):
    s = (s * s - 2) % p
print("2^2203-1 is prime", s == 0)
print("pow", hashlib.md5(str(pow(3, 1 << 4000, p)).encode()).hexdigest())
print("1000!", hashlib.md5(str(math.factorial(1000)).encode()).hexdigest())

# decimals and fractions: e to 300 digits, a harmonic number
decimal.getcontext().prec = 300
print("e", decimal.Decimal(1).exp())
print("sqrt", decimal.Decimal(2).sqrt())
print("H(300)", sum(fractions.Fraction(1, n) for n in range(1, 301)))

# doubles, exactly
x = [rng.uniform(-1e3, 1e3) for _ in range(20000)]
total = functools.reduce(operator.add, x)
print("sum", total.hex(), math.fsum(x).hex(), math.sqrt(math.fsum(v * v for v in x)).hex())
print("mean", (total / len(x)).hex(), max(x).hex(), min(x).hex())
# libraries may differ in the last digits here
print("functions", [f"{f(v):.12e}" for v in x[:20] for f in (math.sin, math.exp, math.atan)
                    if abs(v) < 700])
print("bits", hashlib.md5(struct.pack("<1000d", *(v / 3 for v in x[:1000]))).hexdigest())
print("floats", hashlib.md5(json.dumps(x[:2000]).encode()).hexdigest())

# objects: sorting, dictionaries, strings
words = {}
for n in range(30000):
    words.setdefault("".join(sorted(f"{n * 7919:x}")), []).append(n)
best = sorted(words.items(), key=lambda kv: (-len(kv[1]), kv[0]))[:3]
print("words", len(words), [(k, len(v), sum(v)) for k, v in best])
