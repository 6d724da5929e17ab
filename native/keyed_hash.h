/* A hash that peers cannot steer, for they do not know the seed. Internal to the C module, not for Python. */
#ifndef KEYED_HASH_H
#define KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

/* From the kernel; from the pointer if the kernel has no randomness yet. */
uint64_t kh_seed(const void *fallback);
uint64_t kh_hash(uint64_t seed, const uint8_t *p, size_t len);

/* Of two words that share the hash before them, only equal ones give the same. */
static inline uint64_t kh_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

#endif
