#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "flow_query.h"
#include "segment_index.h"
#include "segment_lookup.h"
#include "pcap_index.h"
#include "pcap_merge.h"

#include "segment_format.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)
#define OUT_BYTES (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Put the checksums right, for else nothing would get past them. */
static void seal(uint8_t *file, size_t size)
{
    struct segment_header header;
    if (size < SEGMENT_PAGE)
        return;
    memcpy(&header, file, sizeof header);
    header.version = SEGMENT_VERSION;
    header.chunk_bytes = SEGMENT_CHUNK_BYTES;
    if (header.magic == SEGMENT_MAGIC_INDEX) {
        struct segment_section *sums = &header.sections[SECTION_SUMS];
        if (sums->offset < size && sums->offset >= SEGMENT_PAGE) {
            for (uint64_t page = 1; page * SEGMENT_PAGE < sums->offset; page++) {
                uint64_t left = sums->offset - page * SEGMENT_PAGE, len = left < SEGMENT_PAGE ? left : SEGMENT_PAGE;
                uint32_t sum = (uint32_t)segment_checksum(page, file + page * SEGMENT_PAGE, len);
                if (sums->offset + (page + 1) * sizeof sum <= size)
                    memcpy(file + sums->offset + page * sizeof sum, &sum, sizeof sum);
            }
            if (sums->bytes <= size - sums->offset)
                header.sums_checksum = segment_checksum(sums->offset, file + sums->offset, sums->bytes);
        }
    } else {
        struct journal_frame frame;
        header.magic = SEGMENT_MAGIC_JOURNAL;
        for (size_t at = SEGMENT_PAGE; size - at >= sizeof frame; at += sizeof frame + frame.bytes) {
            memcpy(&frame, file + at, sizeof frame);
            if (frame.bytes > size - at - sizeof frame)
                break;
            frame.checksum = segment_frame_checksum(at, &frame, file + at + sizeof frame);
            memcpy(file + at, &frame, sizeof frame);
        }
    }
    header.checksum = segment_checksum(0, &header, offsetof(struct segment_header, checksum));
    memcpy(file, &header, sizeof header);
}

static int file_of(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", 0);
    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    return fd;
}

static struct flow_query make_query(uint8_t kind)
{
    struct flow_query query = {.to_ns = UINT64_MAX, .port = {-1, -1}, .proto = -1};
    if (kind & 1)
        query.version[0] = 4;
    if (kind & 2)
        query.version[1] = 4;
    query.addr[0][0] = query.addr[1][0] = 10;
    if (kind & 4)
        query.port[0] = 53;
    if (kind & 8)
        query.port[1] = 7;
    query.has_community = (kind & 16) != 0;
    if (kind & 32)
        query.proto = 17;
    query.is_conn = (kind & 64) != 0;
    if (kind & 128)
        query.from_ns = 5;
    return query;
}

/* The same file thrice, each time as another one: every input ends, with times below the bound first. */
static void merge(int fd, const struct flow_query *query, const struct segidx_extent *extents, size_t n)
{
    static uint8_t out[OUT_BYTES];
    struct pcap_merge *merged;
    struct pcap_merge_ended ended;
    struct pcap_merge_counts counts;
    uint32_t number, linktype;
    size_t used, given = 0, ends = 0;
    REQUIRE(pcap_merge_open(query, NULL, 0, 4096, &merged) == 0);
    int error = 0;
    for (uint32_t i = 0; i < 3 && error == 0; i++)
        error = pcap_merge_add(merged, fd, extents, n, &number, &linktype);
    for (int i = 0; i < 64 && error == 0; i++) {
        int status = pcap_merge_read(merged, i < 2 ? 1000 : UINT64_MAX, out, sizeof out, &used);
        REQUIRE(used <= sizeof out && (status == 0 || status == EAGAIN || status == EFBIG));
        given += used;
        while (pcap_merge_take_ended(merged, &ended) == 0)
            REQUIRE(++ends <= 3 && ended.error == 0 && ended.number < 3);
    }
    pcap_merge_get_counts(merged, &counts);
    REQUIRE(given == counts.bytes && given <= 4096);
    pcap_merge_close(merged);
}

static void look(uint8_t *file, size_t size, int pcap, const struct flow_query *query)
{
    struct segidx_reader *reader;
    struct segidx_extent *extents;
    struct segidx_flow flows[4];
    size_t n;
    seal(file, size);
    int fd = file_of(file, size);
    if (segidx_reader_open(fd, &reader) == 0) {
        if (segidx_lookup(reader, query, 4096, &extents, &n) == 0) {
            for (size_t i = 0; i < n; i++)
                REQUIRE(extents[i].bytes > 0 && (i == 0 || extents[i].offset > extents[i - 1].offset));
            merge(pcap, query, extents, n);
            segidx_free_extents(extents);
        }
        (void)segidx_find_flows(reader, query, flows, 4, &n);
        segidx_reader_close(reader);
    }
    close(fd);
}

/* The input is a PCAP, which is indexed and searched; then places of its index and journal are overwritten as the last
 * bytes of the input say. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[1U << 16];
    struct flow_table *table;
    struct segidx_writer *writer;
    struct segidx_counts counts;
    if (size < 8)
        return 0;
    struct flow_query query = make_query(data[size - 1]);
    int pcap = file_of(data, size), index = memfd_create("index", 0), journal = memfd_create("journal", 0);
    REQUIRE(flow_table_open(8, 1000, UINT64_MAX, &table) == 0 && segidx_writer_open(64, &writer) == 0);
    if (segidx_index_pcap(writer, table, 0, pcap, index, &counts) == 0) {
        REQUIRE(counts.pcap_bytes <= size && segidx_journal(writer, journal, UINT64_MAX) == 0);
        for (int kind = 0; kind < 2; kind++) {
            ssize_t len = pread(kind == 0 ? index : journal, file, sizeof file, 0);
            REQUIRE(len > 0);
            for (size_t i = size - 2; i > 4 && i + 64 > size; i -= 3) {
                size_t at = ((size_t)data[i] << 8 | data[i - 1]) * 7 % (size_t)len;
                if (data[i] & 1)
                    at = at % sizeof(struct segment_header);
                file[at] ^= data[i - 2];
            }
            look(file, (size_t)len, pcap, &query);
        }
    }
    flow_table_close(table);
    segidx_writer_close(writer);
    close(pcap);
    close(index);
    close(journal);
    return 0;
}
