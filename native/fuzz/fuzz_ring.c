#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "flow_key.h"
#include "flow_table.h"
#include "flow_query.h"
#include "segment_index.h"
#include "segment_lookup.h"
#include "ring_index.h"

#include "ring_parts.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

#define BLOCKS 2
#define FIRST 48

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the tap was told, to be compared with what is in the file. */
struct witness {
    uint64_t judged, kept, stored, end;
};

static void judge(void *context, uint32_t linktype, const struct packet_view *packets, size_t n, uint8_t *keep)
{
    struct witness *witness = context;
    REQUIRE(linktype == 1 && n > 0 && n <= RING_BATCH);
    for (size_t i = 0; i < n; i++) {
        volatile uint8_t sum = 0;
        for (uint32_t at = 0; at < packets[i].caplen; at += 7)
            sum = (uint8_t)(sum + packets[i].data[at]);
        keep[i] = packets[i].wire_len % 3 != 0;
        witness->kept += keep[i];
    }
    witness->judged += n;
}

static void stored(void *context, uint32_t linktype, const struct packet_view *packets, const struct ring_place *places,
                   size_t n)
{
    struct witness *witness = context;
    REQUIRE(linktype == 1 && n > 0 && n <= RING_BATCH);
    for (size_t i = 0; i < n; i++) {
        REQUIRE(places[i].offset >= witness->end && places[i].end == places[i].offset + 16 + packets[i].caplen);
        struct pcap_record record;
        memcpy(&record, packets[i].data - sizeof record, sizeof record);
        REQUIRE(record.caplen == packets[i].caplen && record.wire_len == packets[i].wire_len);
        witness->end = places[i].end;
    }
    witness->stored += n;
}

/* Plausible blocks from short descriptions, or the input itself as a block. */
static void fill(uint8_t *block, const uint8_t **data, size_t *size, int is_raw)
{
    struct tpacket_block_desc *header = (void *)block;
    memset(block, 0, RING_BLOCK);
    header->hdr.bh1.block_status = TP_STATUS_USER;
    header->hdr.bh1.offset_to_first_pkt = FIRST;
    if (is_raw) {
        size_t len = *size < RING_BLOCK - FIRST ? *size : RING_BLOCK - FIRST;
        header->hdr.bh1.num_pkts = (uint32_t)len;
        memcpy(block + FIRST, *data, len);
        *size = 0;
        return;
    }
    uint32_t at = FIRST;
    for (; *size >= 4; *data += 4, *size -= 4) {
        const uint8_t *d = *data;
        uint32_t len = (uint32_t)d[0] << (d[1] & 15);
        uint32_t step = (sizeof(struct tpacket3_hdr) + len + 7) & ~7U;
        if (len > CAPLEN_MAX || at + step > RING_BLOCK - sizeof(struct tpacket3_hdr))
            break;
        struct tpacket3_hdr *packet = (void *)(block + at);
        packet->tp_next_offset = step;
        packet->tp_mac = sizeof *packet;
        packet->tp_snaplen = len;
        packet->tp_len = len + (d[1] >> 4);
        packet->tp_sec = d[2];
        packet->tp_nsec = d[3] * 1000U;
        packet->tp_status = d[3] & 1 ? TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID : 0;
        packet->hv1.tp_vlan_tci = d[2];
        packet->hv1.tp_vlan_tpid = 0x8100;
        if (len >= 38) { /* UDP of few flows, in both directions, and fragments */
            static const uint8_t headers[10] = {8, 0, 0x45, 0, 0, 24, 0, 0, 0, 0};
            uint8_t *frame = block + at + sizeof *packet;
            memcpy(frame + 12, headers, sizeof headers);
            frame[20] = d[0] & 0x3f;
            frame[23] = 17;
            frame[26 + (d[2] & 4)] = d[3];
            frame[34 + (d[2] & 4) / 2] = d[2] & 3;
        }
        header->hdr.bh1.num_pkts++;
        at += step;
    }
}

/* The flows, the cutoff and the index as a recorder has them. */
struct indexed {
    struct flow_table *table;
    struct segidx_writer *writer;
    struct ring_index *index;
};

static void open_indexed(struct indexed *indexed, struct ring *ring, uint64_t cutoff)
{
    REQUIRE(flow_table_open(8, 100 * SECOND_NS, cutoff, &indexed->table) == 0);
    REQUIRE(segidx_writer_open(64, &indexed->writer) == 0 && ring_index_open(indexed->table, &indexed->index) == 0);
    REQUIRE(ring_index_attach(indexed->index, ring) == 0);
}

static void close_indexed(struct indexed *indexed)
{
    ring_index_close(indexed->index);
    segidx_writer_close(indexed->writer);
    flow_table_close(indexed->table);
}

/* All extents of everything are the whole file, and those of nothing are nothing but what the journal lacks. */
static void look(int fd, const struct ring_segment *segment)
{
    struct flow_query query = {.to_ns = UINT64_MAX, .port = {-1, -1}, .proto = -1};
    struct segidx_reader *reader;
    struct segidx_extent *extents;
    struct segidx_info info;
    size_t n;
    uint64_t bytes = 0;
    REQUIRE(segidx_reader_open(fd, &reader) == 0 && segidx_lookup(reader, &query, segment->bytes, &extents, &n) == 0);
    for (size_t i = 0; i < n; i++)
        bytes += extents[i].bytes;
    segidx_free_extents(extents);
    REQUIRE(bytes == segment->bytes - PCAP_FILE_HEADER);
    segidx_get_info(reader, &info);
    REQUIRE(!info.is_complete || (info.packets == segment->packets && info.first_ns == segment->first_ns &&
                                  info.last_ns == segment->last_ns && info.pcap_bytes == segment->bytes));
    segidx_reader_close(reader);
}

static void check_indexed(struct indexed *indexed, const struct ring_segment *segment)
{
    int journal = memfd_create("journal", MFD_CLOEXEC), index = memfd_create("index", MFD_CLOEXEC);
    REQUIRE(ring_index_journal(indexed->index, indexed->writer, journal, segment->bytes) == 0);
    REQUIRE(segidx_finish(indexed->writer, index, segment->bytes) == 0);
    look(journal, segment);
    look(index, segment);
    close(journal);
    close(index);
}

/* The file is made of whole records, as many as were stored. */
static void check(int fd, const struct ring_segment *segment)
{
    uint64_t at = PCAP_FILE_HEADER, packets = 0;
    REQUIRE(lseek(fd, 0, SEEK_END) == (off_t)segment->bytes);
    for (struct pcap_record record; at < segment->bytes; at += sizeof record + record.caplen, packets++)
        REQUIRE(pread(fd, &record, sizeof record, (off_t)at) == sizeof record);
    REQUIRE(at == segment->bytes && packets == segment->packets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *map;
    struct witness witness = {0};
    if (size < 4)
        return 0;
    if (map == NULL)
        map = aligned_alloc(4096, BLOCKS * RING_BLOCK);
    uint8_t flags = data[0];
    struct ring_segment_options options = {.linktype = 1, .snaplen = CAPLEN_MAX, .max_bytes = (uint64_t)data[1] << 9,
                                           .until_ns = UINT64_MAX};
    struct ring_tap tap = {.context = &witness, .is_judging = flags & 1, .judge = judge, .stored = stored};
    struct ring ring = {.fd = socket(AF_UNIX, SOCK_STREAM, 0), .wake_fd = eventfd(0, EFD_NONBLOCK), .map = map,
                        .blocks = BLOCKS, .linktype = 1, .snaplen = data[2] != 0 ? data[2] * 64U : CAPLEN_MAX, .tap = &tap};
    struct indexed indexed;
    int is_indexed = (flags & 8) != 0;
    if (is_indexed)
        open_indexed(&indexed, &ring, flags & 1 ? 3000 : UINT64_MAX);
    struct ring_output *output;
    struct ring_segment segment;
    REQUIRE(ring_output_open(flags & 2 ? RING_DIRECT : RING_CACHED, 64 << 10, &output) == 0);
    data += 3, size -= 3;
    for (int i = 0; i < BLOCKS; i++)
        fill(map + i * RING_BLOCK, &data, &size, (flags & 4) != 0);
    uint64_t in_files = 0;
    for (int status = RING_FULL; status == RING_FULL || status == RING_BUSY || status == RING_GONE;) {
        int fd = memfd_create("fuzz", MFD_CLOEXEC);
        REQUIRE(fd >= 0 && ring_output_begin(output, fd, &options) == 0);
        witness.end = PCAP_FILE_HEADER;
        if (is_indexed) {
            segidx_begin(indexed.writer, 1, 0);
            ring_index_begin(indexed.index, indexed.writer);
        }
        do
            status = ring_run(&ring, output, 0, 0);
        while (status == RING_BUSY);
        REQUIRE(ring_output_finish(output, &segment) == 0);
        check(fd, &segment);
        if (is_indexed)
            check_indexed(&indexed, &segment);
        in_files += segment.packets;
        close(fd);
        if (status == RING_GONE)
            break;
    }
    struct ring_counts *counts = &ring.counts;
    REQUIRE(counts->packets == counts->stored + counts->cut && counts->stored == in_files);
    REQUIRE(ring.index == 0 && counts->blocks == BLOCKS);
    REQUIRE(is_indexed || witness.stored == in_files);
    REQUIRE(is_indexed || !tap.is_judging || (witness.judged == counts->packets && witness.kept == counts->stored));
    ring_output_close(output);
    if (is_indexed)
        close_indexed(&indexed);
    close(ring.fd);
    close(ring.wake_fd);
    return 0;
}
