/* What the segment index holds while it is written. Internal to the C module, not for Python; include segment_index.h
 * before it. */
#ifndef SEGMENT_WRITER_H
#define SEGMENT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "segment_format.h"

struct bytes {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

/* A chunk, and where its list is. */
struct written_chunk {
    struct segment_chunk chunk;
    uint32_t flows_before; /* how many there were when it began */
    uint32_t list_bytes;
    size_t list;
};

struct segidx_writer {
    uint32_t max_flows;
    uint32_t linktype;
    uint16_t community_seed;
    struct flow_secret secret;
    struct segidx_flow *flows;
    uint64_t *in_chunk;                              /* a bit for each flow */
    uint32_t touched[SEGMENT_CHUNK_RECORDS_MAX]; /* whose bits are set, in the order of their first packets */
    uint32_t n_touched;
    struct bytes chunks; /* struct written_chunk */
    struct bytes lists;
    struct bytes filters;
    struct bytes scratch;
    struct written_chunk current;
    int has_current;
    struct segidx_counts counts;
    uint32_t journalled; /* chunks */
    uint64_t journal_bytes;
    int journal_error;
};

/* Complete the current chunk. ENOMEM if its list had no room; then the chunk counts as unindexed. */
int segment_close_chunk(struct segidx_writer *writer);

static inline const struct written_chunk *segment_chunk_at(const struct segidx_writer *writer, size_t i)
{
    return (const struct written_chunk *)(const void *)writer->chunks.data + i;
}

/* The two halves of segidx_journal(): collect some frames of chunks that end within pcap_bytes, and write them; nothing
 * was collected if scratch.len is 0 between them. While one thread writes, another may post. */
void segment_journal_collect(struct segidx_writer *writer, uint64_t pcap_bytes);
void segment_journal_write(struct segidx_writer *writer, int fd);

/* Room for n more bytes; 0 or ENOMEM. */
int segment_reserve(struct bytes *bytes, size_t n);
int segment_write(int fd, const void *data, size_t len);

#endif
