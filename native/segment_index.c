#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "segment_index.h"

#include "flow_entry.h"
#include "segment_writer.h"

#define FLOWS_MIN 64
#define FLOWS_MAX (1U << 24)
#define FLOW_COST 128          /* bytes of the index for a flow: record, its places in three orders, a few postings */
#define FLOWS_SHARE 50         /* flows may take one part in so many of the PCAP */
#define FLOWS_FREE (4U << 20)  /* and this in any case, for the beginning of a segment is all new flows */
#define FILE_HEADER_BYTES 24
#define KEPT_BYTES (64U << 20) /* memory of lists and filters that is kept for the next segment */

int segment_reserve(struct bytes *bytes, size_t n)
{
    if (bytes->capacity - bytes->len >= n)
        return 0;
    size_t capacity = bytes->capacity < 65536 ? 65536 : bytes->capacity;
    while (capacity - bytes->len < n)
        capacity *= 2;
    uint8_t *data = realloc(bytes->data, capacity);
    if (data == NULL)
        return ENOMEM;
    bytes->data = data;
    bytes->capacity = capacity;
    return 0;
}

int segment_write(int fd, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return n == 0 ? EIO : errno;
        }
    }
    return 0;
}

int segidx_writer_open(uint32_t max_flows, struct segidx_writer **out)
{
    *out = NULL;
    if (max_flows < FLOWS_MIN || max_flows > FLOWS_MAX)
        return EINVAL;
    struct segidx_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return ENOMEM;
    writer->max_flows = max_flows;
    writer->flows = aligned_alloc(64, (max_flows * sizeof writer->flows[0] + 63) / 64 * 64);
    writer->in_chunk = calloc(max_flows / 64 + 1, sizeof writer->in_chunk[0]);
    if (writer->flows == NULL || writer->in_chunk == NULL) {
        segidx_writer_close(writer);
        return ENOMEM;
    }
    segidx_begin(writer, 1, 0);
    *out = writer;
    return 0;
}

void segidx_writer_close(struct segidx_writer *writer)
{
    if (writer == NULL)
        return;
    free(writer->flows);
    free(writer->in_chunk);
    free(writer->chunks.data);
    free(writer->lists.data);
    free(writer->filters.data);
    free(writer->scratch.data);
    free(writer);
}

static void clear(struct bytes *bytes)
{
    bytes->len = 0;
    if (bytes->capacity > KEPT_BYTES) {
        free(bytes->data);
        *bytes = (struct bytes){0};
    }
}

void segidx_begin(struct segidx_writer *writer, uint32_t linktype, uint16_t community_seed)
{
    writer->linktype = linktype;
    writer->community_seed = community_seed;
    flow_secret_make(&writer->secret);
    memset(writer->in_chunk, 0, (writer->max_flows / 64 + 1) * sizeof writer->in_chunk[0]);
    clear(&writer->chunks);
    clear(&writer->lists);
    clear(&writer->filters);
    clear(&writer->scratch);
    writer->n_touched = 0;
    writer->has_current = 0;
    memset(&writer->counts, 0, sizeof writer->counts);
    writer->counts.pcap_bytes = FILE_HEADER_BYTES;
    writer->journalled = 0;
    writer->journal_bytes = 0;
    writer->journal_error = 0;
}

/* The flows of this chunk as gaps; clears their bits. Five bytes are the longest varint. */
static int put_list(struct segidx_writer *writer)
{
    struct bytes *lists = &writer->lists;
    int error = segment_reserve(lists, (size_t)writer->n_touched * 5);
    uint32_t last = 0;
    writer->current.list = lists->len;
    for (uint32_t i = 0; i < writer->n_touched; i++) {
        uint32_t number = writer->touched[i];
        writer->in_chunk[number / 64] = 0;
        if (error == 0)
            lists->len += varint_put(lists->data + lists->len, signed_gap(last, number));
        last = number;
    }
    writer->n_touched = 0;
    writer->current.list_bytes = (uint32_t)(lists->len - writer->current.list);
    return error;
}

int segment_close_chunk(struct segidx_writer *writer)
{
    if (!writer->has_current)
        return 0;
    writer->has_current = 0;
    writer->current.chunk.end = writer->counts.pcap_bytes;
    int error = put_list(writer);
    if (error != 0)
        writer->current.chunk.filter = SEGMENT_LOST_FILTER;
    if (segment_reserve(&writer->chunks, sizeof writer->current) != 0)
        return ENOMEM; /* the hole in the chunks' offsets tells the reader */
    memcpy(writer->chunks.data + writer->chunks.len, &writer->current, sizeof writer->current);
    writer->chunks.len += sizeof writer->current;
    return error;
}

static void open_chunk(struct segidx_writer *writer, uint64_t ts_ns, uint64_t offset)
{
    segment_close_chunk(writer);
    writer->current = (struct written_chunk){
        .chunk = {.offset = offset, .first_ns = ts_ns, .last_ns = ts_ns, .filter = SEGMENT_NO_FILTER},
        .flows_before = writer->counts.flows,
    };
    writer->has_current = 1;
    writer->counts.chunks++;
}

static void add_unindexed(struct segidx_writer *writer, const struct flow_key *key)
{
    struct segment_chunk *chunk = &writer->current.chunk;
    writer->counts.unindexed++;
    if (chunk->filter == SEGMENT_NO_FILTER) {
        if (segment_reserve(&writer->filters, SEGMENT_FILTER_BYTES) == 0) {
            chunk->filter = (uint32_t)(writer->filters.len / SEGMENT_FILTER_BYTES);
            memset(writer->filters.data + writer->filters.len, 0, SEGMENT_FILTER_BYTES);
            writer->filters.len += SEGMENT_FILTER_BYTES;
        } else {
            chunk->filter = SEGMENT_LOST_FILTER;
        }
    }
    if (chunk->filter == SEGMENT_LOST_FILTER)
        return;
    uint8_t *filter = writer->filters.data + (size_t)chunk->filter * SEGMENT_FILTER_BYTES;
    segment_filter_set(filter, flow_hash(&writer->secret, key));
    for (int i = 0; i < 2 && key->version != 0; i++)
        segment_filter_set(filter, segment_addr_hash(&writer->secret, key->version, key->addr[i]));
}

static int is_known(const struct segidx_writer *writer, uint32_t number, const struct flow_key *key)
{
    return number < writer->counts.flows && memcmp(&writer->flows[number].key, key, sizeof *key) == 0;
}

/* NULL if the flow is one too many. */
static struct segidx_flow *find_or_add(struct segidx_writer *writer, struct flow_entry *entry,
                                       const struct flow_key *key, uint64_t ts_ns)
{
    if (entry == NULL)
        return NULL;
    uint32_t number = flow_entry_number(entry);
    if (is_known(writer, number, key))
        return &writer->flows[number];
    number = writer->counts.flows;
    if (number >= writer->max_flows ||
        (uint64_t)number * FLOW_COST > FLOWS_FREE + writer->counts.pcap_bytes / FLOWS_SHARE)
        return NULL;
    flow_entry_set_number(entry, number);
    writer->counts.flows++;
    writer->flows[number] = (struct segidx_flow){.key = *key, .first_ns = ts_ns, .last_ns = ts_ns};
    return &writer->flows[number];
}

static void widen(uint64_t ts_ns, uint64_t *first_ns, uint64_t *last_ns)
{
    if (ts_ns < *first_ns)
        *first_ns = ts_ns;
    if (ts_ns > *last_ns)
        *last_ns = ts_ns;
}

void segidx_prefetch(const struct segidx_writer *writer, struct flow_table *table, const struct flow_hit *hits,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct flow_entry *entry = flow_table_entry(table, hits[i].slot);
        uint32_t number = entry != NULL ? flow_entry_number(entry) : UINT32_MAX;
        if (number >= writer->counts.flows)
            number = writer->counts.flows < writer->max_flows ? writer->counts.flows : 0;
        __builtin_prefetch(&writer->flows[number], 1);
        __builtin_prefetch(&writer->flows[number].bytes, 1);
    }
}

static void touch(struct segidx_writer *writer, uint32_t number)
{
    uint64_t *word = &writer->in_chunk[number / 64], bit = UINT64_C(1) << number % 64;
    if (*word & bit)
        return;
    if (writer->n_touched == SEGMENT_CHUNK_RECORDS_MAX) { /* records that overlap: the caller's mistake */
        writer->current.chunk.filter = SEGMENT_LOST_FILTER;
        return;
    }
    *word |= bit;
    writer->touched[writer->n_touched++] = number;
}

void segidx_post(struct segidx_writer *writer, struct flow_table *table, const struct flow_hit *hit, uint64_t ts_ns,
                 uint32_t wire_len, uint64_t offset, uint64_t end)
{
    if (!writer->has_current || offset / SEGMENT_CHUNK_BYTES != writer->current.chunk.offset / SEGMENT_CHUNK_BYTES)
        open_chunk(writer, ts_ns, offset);
    struct segment_chunk *chunk = &writer->current.chunk;
    widen(ts_ns, &chunk->first_ns, &chunk->last_ns);
    if (writer->counts.packets == 0)
        writer->counts.first_ns = writer->counts.last_ns = ts_ns;
    widen(ts_ns, &writer->counts.first_ns, &writer->counts.last_ns);
    chunk->packets++;
    writer->counts.packets++;
    writer->counts.pcap_bytes = end;
    const struct flow_packet *packet = &hit->packet;
    struct segidx_flow *flow = find_or_add(writer, flow_table_entry(table, hit->slot), &packet->key, ts_ns);
    if (flow == NULL) {
        add_unindexed(writer, &packet->key);
        return;
    }
    touch(writer, (uint32_t)(flow - writer->flows));
    widen(ts_ns, &flow->first_ns, &flow->last_ns);
    flow->packets[packet->direction] += flow->packets[packet->direction] != UINT32_MAX;
    flow->bytes[packet->direction] += packet->payload;
    flow->wire_bytes[packet->direction] += wire_len;
}

void segidx_get_counts(const struct segidx_writer *writer, struct segidx_counts *out)
{
    *out = writer->counts;
}
