#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "keyed_hash.h"

uint64_t kh_seed(const void *fallback)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)(uintptr_t)fallback;
    return seed;
}

uint64_t kh_hash(uint64_t seed, const uint8_t *p, size_t len)
{
    uint64_t word, hash = kh_mix(seed, len);
    for (; len >= sizeof word; p += sizeof word, len -= sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = kh_mix(hash, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++)
        word = word << 8 | p[i];
    return kh_mix(kh_mix(hash, word), 0); /* once more, so that the last bytes reach the lowest bits, too */
}
