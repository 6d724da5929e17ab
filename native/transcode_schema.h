/* Schemas of Zeek logs, and the cache of those that came with batches. Internal to the C module, not for Python. */
#ifndef TRANSCODE_SCHEMA_H
#define TRANSCODE_SCHEMA_H

#include "transcode_record.h"

/* Room for some hundred logs, so that hardly a set is ever full; and for the bytes of those of a malicious peer. */
#define TC_SETS 128
#define TC_WAYS 16
#define TC_CACHE_BYTES ((size_t)32 << 20)

struct tc_cache {
    struct tc_schema *schemas[TC_SETS][TC_WAYS];
    size_t bytes;
    uint64_t seed;
    uint64_t clock;
    uint64_t last_id;
};

void tc_cache_open(struct tc_cache *cache);
/* Forget all schemas; the cache can be used again. */
void tc_cache_close(struct tc_cache *cache);

/* The schema that a batch begins with, from the cache if its bytes are known. input->p moves to the number of records,
 * or stays where the header is wrong. 0, EBADMSG, EMSGSIZE or ENOMEM. */
int tc_cache_find(struct tc_cache *cache, struct tc_input *input, struct tc_schema **out, int *is_new);

#endif
