#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow_key.h"
#include "community_id.h"
#include "packet_view.h"
#include "flow_table.h"
#include "flow_query.h"
#include "segment_index.h"
#include "segment_lookup.h"

#include "big_endian.h"
#include "segment_reader.h"

#define FILE_HEADER_BYTES 24
#define CHUNKS_AT_ONCE 100 /* about a page */

struct search {
    struct segidx_reader *reader;
    const struct flow_query *query;
    uint8_t *marks; /* of each chunk; NULL if flows are wanted and not chunks */
    uint32_t marked;
    struct segidx_flow *flows;
    size_t capacity;
    size_t found;
};

static int read_flow(struct segidx_reader *reader, uint64_t number, struct segidx_flow *flow)
{
    return segment_read(reader, SECTION_FLOWS, number * sizeof *flow, flow, sizeof *flow);
}

static int read_number(struct segidx_reader *reader, int section, uint64_t i, uint32_t *number)
{
    return segment_read(reader, section, i * sizeof *number, number, sizeof *number);
}

static uint64_t numbers_in(const struct segidx_reader *reader, int section)
{
    return reader->header.sections[section].bytes / sizeof(uint32_t);
}

static int mark_chunks(struct search *search, const struct segidx_flow *flow)
{
    uint8_t bytes[256];
    uint32_t next = 0; /* the chunk after the last one */
    for (uint32_t at = 0; at < flow->postings_bytes;) {
        uint32_t left = flow->postings_bytes - at, gap = 0;
        size_t len = left < sizeof bytes ? left : sizeof bytes, used = 0;
        int error = segment_read(search->reader, SECTION_POSTINGS, (uint64_t)flow->postings + at, bytes, len);
        if (error != 0)
            return error;
        for (size_t n; (n = varint_get(bytes + used, len - used, &gap)) > 0; used += n) {
            if (gap == 0 || gap > search->reader->header.chunks - next)
                return EBADMSG;
            next += gap;
            search->marked += !search->marks[next - 1];
            search->marks[next - 1] = 1;
        }
        if (used == 0)
            return EBADMSG;
        at += (uint32_t)used;
    }
    return 0;
}

/* ECANCELED: there is nothing more to find. */
static int visit(struct search *search, const struct segidx_flow *flow)
{
    const struct flow_query *query = search->query;
    if (flow->first_ns > query->to_ns || flow->last_ns < query->from_ns || !flow_query_wants(query, &flow->key))
        return 0;
    if (search->marks == NULL) {
        if (search->found < search->capacity)
            search->flows[search->found] = *flow;
        search->found++;
        return 0;
    }
    if (search->marked == search->reader->header.chunks)
        return ECANCELED;
    return mark_chunks(search, flow);
}

static int visit_number(struct search *search, uint64_t number)
{
    struct segidx_flow flow;
    int error = read_flow(search->reader, number, &flow);
    return error != 0 ? error : visit(search, &flow);
}

/* What an order is searched for. */
struct target {
    int section;
    const uint8_t *bytes;
    size_t len;
    uint16_t port;
};

/* How entry i of the section's order compares with the target; its flow, too. */
static int compare(struct segidx_reader *reader, const struct target *target, uint64_t i, struct segidx_flow *flow,
                   int *sign)
{
    uint32_t number = (uint32_t)i;
    int error = target->section == SECTION_FLOWS ? 0 : read_number(reader, target->section, i, &number);
    int side = number & 1;
    if (error == 0)
        error = read_flow(reader, target->section == SECTION_PORTS ? number / 2 : number, flow);
    if (error != 0)
        return error;
    uint8_t digest[20];
    switch (target->section) {
    case SECTION_FLOWS: *sign = memcmp(&flow->key, target->bytes, target->len); break;
    case SECTION_HOSTS: *sign = memcmp(flow->key.addr[1], target->bytes, target->len); break;
    case SECTION_PORTS: *sign = (int)flow->key.port[side] - (int)target->port; break;
    default:
        community_id_digest(&flow->key, (uint16_t)reader->header.community_seed, digest);
        *sign = memcmp(digest, target->bytes, target->len);
        break;
    }
    return 0;
}

/* Visit all entries that equal the target. */
static int visit_equal(struct search *search, const struct target *target)
{
    struct segidx_reader *reader = search->reader;
    uint64_t n = target->section == SECTION_FLOWS ? reader->header.flows : numbers_in(reader, target->section);
    uint64_t low = 0, high = n;
    struct segidx_flow flow;
    int error = 0, sign = 0;
    while (low < high && error == 0) {
        uint64_t middle = low + (high - low) / 2;
        error = compare(reader, target, middle, &flow, &sign);
        if (sign < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < n && error == 0; low++) {
        error = compare(reader, target, low, &flow, &sign);
        if (error != 0 || sign != 0)
            break;
        error = visit(search, &flow);
    }
    return error;
}

static int visit_pair(struct search *search)
{
    const struct flow_query *query = search->query;
    int error = 0;
    for (int first = 0; first < 2 && error == 0; first++) {
        uint8_t both[32];
        memcpy(both, query->addr[first], 16);
        memcpy(both + 16, query->addr[!first], 16);
        if (first == 0 || memcmp(both, both + 16, 16) != 0)
            error = visit_equal(search, &(struct target){.section = SECTION_FLOWS, .bytes = both, .len = sizeof both});
    }
    return error;
}

static int visit_host(struct search *search, const uint8_t *addr)
{
    int error = visit_equal(search, &(struct target){.section = SECTION_FLOWS, .bytes = addr, .len = 16});
    if (error == 0)
        error = visit_equal(search, &(struct target){.section = SECTION_HOSTS, .bytes = addr, .len = 16});
    return error;
}

/* Visit a small part of the flows that has all wanted ones; a flow whose two ends fit may be visited twice. */
static int visit_candidates(struct search *search)
{
    const struct flow_query *query = search->query;
    const struct segment_header *header = &search->reader->header;
    if (query->version[0] != 0 && query->version[1] != 0)
        return visit_pair(search);
    if (query->has_community && query->community_seed == header->community_seed)
        return visit_equal(search,
                           &(struct target){.section = SECTION_COMMUNITIES, .bytes = query->community, .len = 8});
    for (int i = 0; i < 2; i++)
        if (query->version[i] != 0)
            return visit_host(search, query->addr[i]);
    for (int i = 0; i < 2 && !(query->is_conn && query->proto >= 0); i++)
        if (query->port[i] >= 0)
            return visit_equal(search,
                               &(struct target){.section = SECTION_PORTS, .port = (uint16_t)query->port[i]});
    int error = 0;
    for (uint64_t i = 0; i < header->flows && error == 0; i++)
        error = visit_number(search, i);
    return error;
}

static int ask_filter(struct search *search, const struct segment_chunk *chunk, int *is_wanted)
{
    uint8_t filter[SEGMENT_FILTER_BYTES];
    const uint8_t *asked = NULL;
    if (chunk->filter != SEGMENT_LOST_FILTER) {
        int error = segment_read(search->reader, SECTION_FILTERS, (uint64_t)chunk->filter * sizeof filter, filter,
                                 sizeof filter);
        if (error != 0)
            return error;
        asked = filter;
    }
    *is_wanted = segment_filter_wants(&search->reader->header.secret, search->query, asked);
    return 0;
}

/* A chunk that is not wanted may still be, for its filter. */
static int collect_chunk(struct search *search, const struct segment_chunk *chunk, uint64_t i, struct extents *extents,
                         uint64_t *end)
{
    if (chunk->offset < *end || chunk->end < chunk->offset)
        return EBADMSG;
    int error = extents_add(extents, *end, chunk->offset); /* a hole is not indexed */
    *end = chunk->end;
    if (error != 0 || !segment_chunk_in_time(chunk, search->query))
        return error;
    int is_wanted = search->marks == NULL || search->marks[i];
    if (!is_wanted && chunk->filter != SEGMENT_NO_FILTER)
        error = ask_filter(search, chunk, &is_wanted);
    return error == 0 && is_wanted ? extents_add(extents, chunk->offset, chunk->end) : error;
}

static int collect(struct search *search, struct extents *extents, uint64_t *end)
{
    struct segment_chunk chunks[CHUNKS_AT_ONCE];
    uint64_t n = search->reader->header.chunks;
    int error = 0;
    *end = FILE_HEADER_BYTES;
    for (uint64_t i = 0; i < n && error == 0; i += CHUNKS_AT_ONCE) {
        size_t some = n - i < CHUNKS_AT_ONCE ? (size_t)(n - i) : CHUNKS_AT_ONCE;
        error = segment_read(search->reader, SECTION_CHUNKS, i * sizeof chunks[0], chunks, some * sizeof chunks[0]);
        for (size_t j = 0; j < some && error == 0; j++)
            error = collect_chunk(search, &chunks[j], i + j, extents, end);
    }
    return error;
}

static int lookup_index(struct segidx_reader *reader, const struct flow_query *query, struct extents *extents,
                        uint64_t *end)
{
    struct search search = {.reader = reader, .query = query};
    int error = 0;
    if (!segment_wants_all(query)) { /* else nothing is marked, because all is wanted */
        search.marks = calloc((size_t)reader->header.chunks + 1, 1);
        error = search.marks != NULL ? visit_candidates(&search) : ENOMEM;
    }
    if (error == 0 || error == ECANCELED)
        error = collect(&search, extents, end);
    free(search.marks);
    return error;
}

/* An index may cover more than there is by now, or was when the caller looked. */
static void limit(struct extents *extents, uint64_t pcap_bytes)
{
    while (extents->len > 0 && extents->items[extents->len - 1].offset >= pcap_bytes)
        extents->len--;
    if (extents->len == 0)
        return;
    struct segidx_extent *tail = &extents->items[extents->len - 1];
    tail->bytes = tail->bytes < pcap_bytes - tail->offset ? tail->bytes : pcap_bytes - tail->offset;
}

int segidx_lookup(struct segidx_reader *reader, const struct flow_query *query, uint64_t pcap_bytes,
                  struct segidx_extent **out, size_t *n)
{
    struct extents extents = {0};
    uint64_t end = FILE_HEADER_BYTES;
    int error = reader->header.magic == SEGMENT_MAGIC_INDEX ? lookup_index(reader, query, &extents, &end)
                                                            : segment_lookup_journal(reader, query, &extents, &end);
    if (error == 0)
        error = extents_add(&extents, end, pcap_bytes);
    limit(&extents, pcap_bytes);
    if (error != 0) {
        free(extents.items);
        extents = (struct extents){0};
    }
    *out = extents.items;
    *n = extents.len;
    return error;
}

void segidx_free_extents(struct segidx_extent *extents)
{
    free(extents);
}

int segidx_find_flows(struct segidx_reader *reader, const struct flow_query *query, struct segidx_flow *out,
                      size_t capacity, size_t *n)
{
    struct search search = {.reader = reader, .query = query, .flows = out, .capacity = capacity};
    *n = 0;
    if (reader->header.magic != SEGMENT_MAGIC_INDEX)
        return EOPNOTSUPP;
    int error = visit_candidates(&search);
    *n = search.found;
    return error;
}
