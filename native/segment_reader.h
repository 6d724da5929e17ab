/* An open index and its checked pages. Internal to the C module, not for Python; include segment_lookup.h before it. */
#ifndef SEGMENT_READER_H
#define SEGMENT_READER_H

#include <stddef.h>
#include <stdint.h>

#include "segment_format.h"

#define CACHED_PAGES 64

struct segidx_reader {
    int fd;
    struct segment_header header;
    uint32_t *sums;
    uint64_t cached[CACHED_PAGES]; /* number of the page, 0: none, for the header is never read this way */
    uint8_t pages[CACHED_PAGES][SEGMENT_PAGE];
};

/* The extents that are being collected. */
struct extents {
    struct segidx_extent *items;
    size_t len;
    size_t capacity;
};

/* len bytes at offset of a section. EBADMSG if they are not in it or not as they were written. */
int segment_read(struct segidx_reader *reader, int section, uint64_t offset, void *out, size_t len);

/* All of len bytes from offset of the file, ENODATA if it ends before. */
int segment_pread(int fd, void *out, size_t len, uint64_t offset);

/* Add from offset to end, joined to the last one if it ends there. */
int extents_add(struct extents *extents, uint64_t offset, uint64_t end);

/* Whether a chunk may hold unindexed packets that are wanted; filter NULL if it has none to ask. */
int segment_filter_wants(const struct flow_secret *secret, const struct flow_query *query, const uint8_t *filter);

/* Whether the query wants everything in its time. */
int segment_wants_all(const struct flow_query *query);

int segment_lookup_journal(struct segidx_reader *reader, const struct flow_query *query, struct extents *extents,
                           uint64_t *end);

static inline int segment_chunk_in_time(const struct segment_chunk *chunk, const struct flow_query *query)
{
    return chunk->first_ns <= query->to_ns && chunk->last_ns >= query->from_ns;
}

#endif
