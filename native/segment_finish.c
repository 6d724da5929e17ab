#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flow_key.h"
#include "community_id.h"
#include "packet_view.h"
#include "flow_table.h"
#include "segment_index.h"

#include "big_endian.h"
#include "segment_writer.h"

#define PORTS 65536
#define BUFFER_PAGES 64

/* What is sorted: eight bytes that decide nearly always, and the flow. */
struct item {
    uint64_t prefix;
    uint32_t number;
};

struct build {
    const struct segidx_writer *writer;
    size_t chunks;
    uint64_t pcap_bytes;
    uint64_t packets;
    uint32_t numbers; /* of flows in the chunks */
    uint32_t flows;   /* different ones */
    uint32_t ported;
    struct item *items;
    struct item *spare;
    struct segidx_flow *sorted;
    uint32_t *ranks; /* of each number of the writer: place in sorted */
    uint32_t *last;  /* of each flow: 1 + its last chunk so far */
    uint8_t *postings;
    uint32_t *hosts;
    uint32_t *ports;
    uint32_t *communities;
};

/* A file as it is written: pages and their checksums. */
struct output {
    int fd;
    int error;
    uint64_t offset;
    size_t used;
    struct bytes sums;
    uint8_t buffer[BUFFER_PAGES * SEGMENT_PAGE];
};

typedef int compare_items(const void *context, const struct item *a, const struct item *b);

/* A merge sort, because qsort_r() may call malloc() and gives no bound. */
static void sort_items(struct item *items, struct item *spare, size_t n, compare_items *compare, const void *context)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            size_t middle = start + width < n ? start + width : n, end = start + 2 * width < n ? start + 2 * width : n;
            size_t a = start, b = middle;
            for (size_t out = start; out < end; out++) {
                int takes_a = b >= end;
                if (a < middle && b < end)
                    takes_a = items[a].prefix != items[b].prefix ? items[a].prefix < items[b].prefix
                                                                 : compare(context, &items[a], &items[b]) <= 0;
                spare[out] = takes_a ? items[a++] : items[b++];
            }
        }
        memcpy(items, spare, n * sizeof *items);
    }
}

static int compare_keys(const void *context, const struct item *a, const struct item *b)
{
    const struct segidx_flow *flows = context;
    return memcmp(&flows[a->number].key, &flows[b->number].key, sizeof(struct flow_key));
}

static int compare_hosts(const void *context, const struct item *a, const struct item *b)
{
    const struct segidx_flow *flows = context;
    return memcmp(flows[a->number].key.addr[1], flows[b->number].key.addr[1], 16);
}

static int compare_nothing(const void *context, const struct item *a, const struct item *b)
{
    (void)context;
    (void)a;
    (void)b;
    return 0;
}

static void merge_flow(struct segidx_flow *into, const struct segidx_flow *from)
{
    if (from->first_ns < into->first_ns)
        into->first_ns = from->first_ns;
    if (from->last_ns > into->last_ns)
        into->last_ns = from->last_ns;
    for (int i = 0; i < 2; i++) {
        into->bytes[i] += from->bytes[i];
        into->wire_bytes[i] += from->wire_bytes[i];
        uint64_t packets = (uint64_t)into->packets[i] + from->packets[i];
        into->packets[i] = packets < UINT32_MAX ? (uint32_t)packets : UINT32_MAX;
    }
}

/* A flow that the table forgot and saw again has two records; they become one. */
static void sort_flows(struct build *build)
{
    const struct segidx_writer *writer = build->writer;
    uint32_t n = build->numbers;
    for (uint32_t i = 0; i < n; i++)
        build->items[i] = (struct item){.prefix = be64(writer->flows[i].key.addr[0]), .number = i};
    sort_items(build->items, build->spare, n, compare_keys, writer->flows);
    for (uint32_t i = 0; i < n; i++) {
        const struct segidx_flow *flow = &writer->flows[build->items[i].number];
        if (build->flows > 0 && memcmp(&build->sorted[build->flows - 1].key, &flow->key, sizeof flow->key) == 0)
            merge_flow(&build->sorted[build->flows - 1], flow);
        else
            build->sorted[build->flows++] = *flow;
        build->ranks[build->items[i].number] = build->flows - 1;
    }
}

typedef void on_posting(struct build *build, struct segidx_flow *flow, uint32_t gap);

static void measure(struct build *build, struct segidx_flow *flow, uint32_t gap)
{
    (void)build;
    uint8_t bytes[5];
    flow->postings_bytes += (uint32_t)varint_put(bytes, gap);
}

static void store(struct build *build, struct segidx_flow *flow, uint32_t gap)
{
    flow->postings_bytes += (uint32_t)varint_put(build->postings + flow->postings + flow->postings_bytes, gap);
}

static void walk_lists(struct build *build, on_posting *visit)
{
    const struct segidx_writer *writer = build->writer;
    memset(build->last, 0, build->flows * sizeof build->last[0]);
    for (uint32_t i = 0; i < build->chunks; i++) {
        const struct written_chunk *written = segment_chunk_at(writer, i);
        const uint8_t *p = writer->lists.data + written->list;
        uint32_t number = 0, gap = 0;
        for (size_t left = written->list_bytes, n; left > 0; left -= n, p += n) {
            n = varint_get(p, left, &gap);
            number = signed_gap_end(number, gap);
            uint32_t rank = build->ranks[number];
            if (build->last[rank] != i + 1)
                visit(build, &build->sorted[rank], i + 1 - build->last[rank]);
            build->last[rank] = i + 1;
        }
    }
}

static int invert_lists(struct build *build)
{
    uint64_t total = 0;
    walk_lists(build, measure);
    for (uint32_t i = 0; i < build->flows; i++) {
        build->sorted[i].postings = (uint32_t)total;
        total += build->sorted[i].postings_bytes;
        build->sorted[i].postings_bytes = 0;
    }
    if (total > UINT32_MAX)
        return EFBIG;
    build->postings = malloc(total + 1);
    if (build->postings == NULL)
        return ENOMEM;
    walk_lists(build, store);
    return 0;
}

static void sort_hosts(struct build *build)
{
    for (uint32_t i = 0; i < build->flows; i++)
        build->items[i] = (struct item){.prefix = be64(build->sorted[i].key.addr[1]), .number = i};
    sort_items(build->items, build->spare, build->flows, compare_hosts, build->sorted);
    for (uint32_t i = 0; i < build->flows; i++)
        build->hosts[i] = build->items[i].number;
}

static int sort_ports(struct build *build)
{
    uint32_t *starts = calloc(PORTS + 1, sizeof *starts);
    if (starts == NULL)
        return ENOMEM;
    for (uint32_t i = 0; i < 2 * build->flows; i++)
        if (build->sorted[i / 2].key.flags & FLOW_KEY_PORTS)
            starts[build->sorted[i / 2].key.port[i % 2] + 1]++;
    for (uint32_t port = 0; port < PORTS; port++)
        starts[port + 1] += starts[port];
    build->ported = starts[PORTS];
    for (uint32_t i = 0; i < 2 * build->flows; i++)
        if (build->sorted[i / 2].key.flags & FLOW_KEY_PORTS)
            build->ports[starts[build->sorted[i / 2].key.port[i % 2]]++] = i;
    free(starts);
    return 0;
}

static uint32_t sort_communities(struct build *build)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < build->flows; i++) {
        uint8_t digest[20];
        if (build->sorted[i].key.version == 0)
            continue;
        community_id_digest(&build->sorted[i].key, build->writer->community_seed, digest);
        build->items[n++] = (struct item){.prefix = be64(digest), .number = i};
    }
    sort_items(build->items, build->spare, n, compare_nothing, NULL);
    for (uint32_t i = 0; i < n; i++)
        build->communities[i] = build->items[i].number;
    return n;
}

static void flush(struct output *out)
{
    for (size_t at = 0; at < out->used && out->error == 0; at += SEGMENT_PAGE) {
        size_t len = out->used - at < SEGMENT_PAGE ? out->used - at : SEGMENT_PAGE;
        uint64_t page = (out->offset - out->used + at) / SEGMENT_PAGE;
        uint32_t sum = (uint32_t)segment_checksum(page, out->buffer + at, len);
        out->error = segment_reserve(&out->sums, sizeof sum);
        if (out->error == 0)
            memcpy(out->sums.data + out->sums.len, &sum, sizeof sum);
        out->sums.len += sizeof sum;
    }
    if (out->error == 0)
        out->error = segment_write(out->fd, out->buffer, out->used);
    out->used = 0;
}

static void put(struct output *out, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        size_t n = sizeof out->buffer - out->used;
        n = n < len ? n : len;
        memcpy(out->buffer + out->used, p, n);
        out->used += n;
        out->offset += n;
        p += n;
        len -= n;
        if (out->used == sizeof out->buffer)
            flush(out);
    }
}

static void put_section(struct output *out, struct segment_section *section, const void *data, size_t bytes)
{
    static const uint8_t zeros[8];
    section->offset = out->offset;
    section->bytes = bytes;
    put(out, data, bytes);
    put(out, zeros, (8 - bytes % 8) % 8);
}

static void put_chunks(struct output *out, struct segment_section *section, const struct build *build)
{
    section->offset = out->offset;
    section->bytes = build->chunks * sizeof(struct segment_chunk);
    for (size_t i = 0; i < build->chunks; i++) {
        struct segment_chunk chunk = segment_chunk_at(build->writer, i)->chunk;
        chunk.end = chunk.end < build->pcap_bytes ? chunk.end : build->pcap_bytes;
        put(out, &chunk, sizeof chunk);
    }
}

static int write_index(struct build *build, struct output *out, uint32_t communities)
{
    const struct segidx_writer *writer = build->writer;
    const struct segidx_counts *counts = &writer->counts;
    uint8_t page[SEGMENT_PAGE] = {0};
    struct segment_header header = {
        .magic = SEGMENT_MAGIC_INDEX,
        .version = SEGMENT_VERSION,
        .chunk_bytes = SEGMENT_CHUNK_BYTES,
        .linktype = writer->linktype,
        .community_seed = writer->community_seed,
        .flows = build->flows,
        .chunks = (uint32_t)build->chunks,
        .pcap_bytes = build->pcap_bytes,
        .packets = build->packets,
        .unindexed = counts->unindexed,
        .first_ns = counts->first_ns,
        .last_ns = counts->last_ns,
        .secret = writer->secret,
    };
    struct segment_section *sections = header.sections;
    const struct segidx_flow *tail = build->flows > 0 ? &build->sorted[build->flows - 1] : NULL;
    size_t postings = tail != NULL ? (size_t)tail->postings + tail->postings_bytes : 0;
    put(out, page, sizeof page); /* zeros until all is there: an unfinished index has no magic */
    put_chunks(out, &sections[SECTION_CHUNKS], build);
    put_section(out, &sections[SECTION_FLOWS], build->sorted, build->flows * sizeof *build->sorted);
    put_section(out, &sections[SECTION_POSTINGS], build->postings, postings);
    put_section(out, &sections[SECTION_HOSTS], build->hosts, build->flows * sizeof *build->hosts);
    put_section(out, &sections[SECTION_PORTS], build->ports, build->ported * sizeof *build->ports);
    put_section(out, &sections[SECTION_COMMUNITIES], build->communities, communities * sizeof *build->communities);
    put_section(out, &sections[SECTION_FILTERS], writer->filters.data, writer->filters.len);
    flush(out);
    if (out->error != 0)
        return out->error;
    sections[SECTION_SUMS] = (struct segment_section){.offset = out->offset, .bytes = out->sums.len};
    header.sums_checksum = segment_checksum(out->offset, out->sums.data, out->sums.len);
    header.checksum = segment_checksum(0, &header, offsetof(struct segment_header, checksum));
    memcpy(page, &header, sizeof header);
    int error = segment_write(out->fd, out->sums.data, out->sums.len);
    if (error == 0 && pwrite(out->fd, page, sizeof page, 0) != (ssize_t)sizeof page)
        error = errno != 0 ? errno : EIO;
    return error;
}

static int allocate(struct build *build)
{
    size_t n = (size_t)build->writer->counts.flows + 1;
    build->items = malloc(n * sizeof *build->items);
    build->spare = malloc(n * sizeof *build->spare);
    build->sorted = malloc(n * sizeof *build->sorted);
    build->ranks = malloc(n * sizeof *build->ranks);
    build->last = malloc(n * sizeof *build->last);
    build->hosts = malloc(n * sizeof *build->hosts);
    build->ports = malloc(2 * n * sizeof *build->ports);
    build->communities = malloc(n * sizeof *build->communities);
    return build->items != NULL && build->spare != NULL && build->sorted != NULL && build->ranks != NULL &&
                   build->last != NULL && build->hosts != NULL && build->ports != NULL && build->communities != NULL
               ? 0
               : ENOMEM;
}

static void release(struct build *build)
{
    free(build->items);
    free(build->spare);
    free(build->sorted);
    free(build->ranks);
    free(build->last);
    free(build->postings);
    free(build->hosts);
    free(build->ports);
    free(build->communities);
}

/* Leave out the chunks behind what the PCAP holds, and the flows that began there. */
static void limit(struct build *build, uint64_t pcap_bytes)
{
    const struct segidx_writer *writer = build->writer;
    build->pcap_bytes = pcap_bytes < writer->counts.pcap_bytes ? pcap_bytes : writer->counts.pcap_bytes;
    build->packets = writer->counts.packets;
    build->numbers = writer->counts.flows;
    for (; build->chunks > 0; build->chunks--) {
        const struct written_chunk *tail = segment_chunk_at(writer, build->chunks - 1);
        if (tail->chunk.offset < build->pcap_bytes)
            break;
        build->packets -= tail->chunk.packets;
        build->numbers = tail->flows_before;
    }
}

int segidx_finish(struct segidx_writer *writer, int fd, uint64_t pcap_bytes)
{
    segment_close_chunk(writer);
    struct build build = {.writer = writer, .chunks = writer->chunks.len / sizeof(struct written_chunk)};
    limit(&build, pcap_bytes);
    struct output *out = calloc(1, sizeof *out);
    int error = out != NULL ? allocate(&build) : ENOMEM;
    if (error == 0) {
        out->fd = fd;
        sort_flows(&build);
        error = invert_lists(&build);
    }
    if (error == 0)
        error = sort_ports(&build);
    if (error == 0) {
        sort_hosts(&build);
        error = write_index(&build, out, sort_communities(&build));
    }
    if (out != NULL)
        free(out->sums.data);
    free(out);
    release(&build);
    return error;
}
