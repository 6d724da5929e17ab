/* The hash of a flow key that tells flows apart, with a secret. Internal to the C module, not for Python;
 * include flow_key.h before it.
 *
 * kh_hash() spreads keys over buckets, but two of its inputs that differ in chosen bits collide under every seed. Here
 * the hash stands for the key, and one who could make two flows equal would hide one behind the other. So: NH of UMAC
 * (RFC 4418) with 64-bit words, which gives different keys the same value with probability 2^-64 over the secret.
 */
#ifndef FLOW_HASH_H
#define FLOW_HASH_H

#include <stdint.h>
#include <string.h>

#include "keyed_hash.h"

__extension__ typedef unsigned __int128 flow_hash_wide;

struct flow_secret {
    uint64_t words[8];
};

static inline void flow_secret_make(struct flow_secret *secret)
{
    for (int i = 0; i < 8; i++)
        secret->words[i] = kh_seed(&secret->words[i]);
}

static inline uint64_t flow_hash(const struct flow_secret *secret, const struct flow_key *key)
{
    uint64_t w[5];
    const uint64_t *k = secret->words;
    memcpy(w, key, sizeof w);
    flow_hash_wide sum = (flow_hash_wide)(w[0] + k[0]) * (w[1] + k[1]) + (flow_hash_wide)(w[2] + k[2]) * (w[3] + k[3]) +
                         (flow_hash_wide)(w[4] + k[4]) * k[5];
    flow_hash_wide folded = (flow_hash_wide)(uint64_t)sum * (k[6] | 1) +
                            (flow_hash_wide)(uint64_t)(sum >> 64) * (k[7] | 1);
    return (uint64_t)folded ^ (uint64_t)(folded >> 64);
}

#endif
