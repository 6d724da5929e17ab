/* What tracking and indexing cost: packets lie in memory as the kernel's ring would have them, 64 MiB of 1 MiB blocks.
 *
 * flow_index WORK SIZE FLOWS PACKETS, where WORK is walk, parse, table, index or journal, SIZE bytes or 0 for IMIX
 * (7:4:1), and FLOWS 0 for a flood: every packet begins a flow. One line: ns for each packet, the index as a share of
 * the PCAP, ms to finish the index for each million packets, indexed flows, unindexed packets. With WORK pcap the
 * packets go to standard output as a PCAP file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "segment_index.h"

#include "big_endian.h"

#define RING_BYTES (64U << 20)
#define BLOCK_BYTES (1U << 20)
#define HEADROOM 82 /* struct tpacket3_hdr, struct sockaddr_ll and alignment before the frame */
#define BATCH 64
#define SEGMENT_BYTES (1ULL << 30)

static const uint16_t imix[12] = {64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 594, 64};

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void make_frame(uint8_t *f, uint32_t flow, uint32_t len)
{
    memset(f, 0, 54);
    put_be16(f + 12, 0x0800);
    f[14] = 0x45;
    put_be16(f + 16, (uint16_t)(len - 14));
    f[22] = 64;
    f[23] = 17;
    put_be32(f + 26, 0x0a000000U | (flow & 0xffffff));
    put_be32(f + 30, 0x0a010000U | (flow >> 4 & 0xff));
    put_be16(f + 34, (uint16_t)(1024 + (flow & 1023)));
    put_be16(f + 36, flow & 3 ? 53 : 443);
}

struct ring {
    uint8_t *bytes;
    struct packet_view *views;
    size_t n;
};

static void fill(struct ring *ring, uint32_t size, uint32_t flows)
{
    size_t at = 0;
    ring->bytes = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    ring->views = calloc(RING_BYTES / 128, sizeof *ring->views);
    for (uint32_t i = 0; ring->n < RING_BYTES / 128; i++) {
        uint32_t len = size != 0 ? size : imix[i % 12], taken = (HEADROOM + len + 15) / 16 * 16;
        if (at % BLOCK_BYTES + taken > BLOCK_BYTES)
            at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
        if (at + taken > RING_BYTES)
            break;
        make_frame(ring->bytes + at + HEADROOM, flows != 0 ? i % flows : i, len);
        ring->views[ring->n++] =
            (struct packet_view){.data = ring->bytes + at + HEADROOM, .caplen = len, .wire_len = len};
        at += taken;
    }
}

static int write_pcap(const struct ring *ring, uint64_t packets)
{
    static const uint32_t header[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, 262144, 1};
    fwrite(header, sizeof header, 1, stdout);
    for (uint64_t i = 0; i < packets; i++) {
        const struct packet_view *view = &ring->views[i % ring->n];
        uint64_t ts_ns = 1700000000000000000 + i * 700;
        uint32_t record[4] = {(uint32_t)(ts_ns / 1000000000), (uint32_t)(ts_ns % 1000000000), view->caplen,
                              view->wire_len};
        fwrite(record, sizeof record, 1, stdout);
        fwrite(view->data, view->caplen, 1, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    char work = argv[1][0];
    uint32_t size = (uint32_t)atoi(argv[2]), flows = (uint32_t)atoi(argv[3]);
    uint64_t packets = strtoull(argv[4], NULL, 10), offset = 24, segments = 0, bytes = 0, index_bytes = 0;
    struct ring ring = {0};
    struct flow_table *table;
    struct segidx_writer *writer;
    struct segidx_counts counts;
    uint64_t unindexed = 0, seen_flows = 0;
    double finishing = 0;
    fill(&ring, size, flows);
    if (strcmp(argv[1], "pcap") == 0)
        return write_pcap(&ring, packets);
    if (flow_table_open(1 << 20, 300000000000, UINT64_MAX, &table) || segidx_writer_open(1 << 18, &writer))
        return 1;
    struct flow_hit hits[BATCH];
    struct packet_view batch[BATCH];
    uint64_t sum = 0, done = 0;
    int fd = memfd_create("index", 0), journal = memfd_create("journal", 0);
    for (int round = 0; round < 2; round++) { /* the first one warms up */
        double start = now();
        finishing = 0;
        bytes = index_bytes = unindexed = seen_flows = 0;
        for (done = 0; done < packets;) {
            size_t at = done % ring.n, n = ring.n - at < BATCH ? ring.n - at : BATCH;
            memcpy(batch, ring.views + at, n * sizeof batch[0]);
            for (size_t i = 0; i < n; i++) {
                batch[i].ts_ns = 1700000000000000000 + (done + i) * 700 + (uint64_t)round * 100000000000;
                if (flows == 0) { /* another pass over the ring is other flows */
                    uint8_t *f = ring.bytes + (batch[i].data - ring.bytes);
                    put_be32(f + 26, (uint32_t)(done + i) * 2654435761U);
                }
            }
            done += n;
            if (work == 'w') {
                for (size_t i = 0; i < n; i++)
                    sum += batch[i].data[30];
                continue;
            }
            if (work == 'p') {
                for (size_t i = 0; i < n; i++) {
                    __builtin_prefetch(batch[i + 8 < n ? i + 8 : i].data);
                    flow_parse(1, batch[i].data, batch[i].caplen, batch[i].wire_len, &hits[0].packet);
                    sum += hits[0].packet.direction;
                }
                continue;
            }
            flow_table_track(table, 1, batch, n, hits);
            if (work == 't')
                continue;
            segidx_prefetch(writer, table, hits, n);
            for (size_t i = 0; i < n; i++) {
                uint64_t end = offset + 16 + batch[i].caplen;
                segidx_post(writer, table, &hits[i], batch[i].ts_ns, batch[i].wire_len, offset, end);
                offset = end;
            }
            if (work == 'j')
                segidx_journal(writer, journal, UINT64_MAX);
            if (offset >= SEGMENT_BYTES || done >= packets) {
                struct stat status;
                double before = now();
                segidx_get_counts(writer, &counts);
                unindexed += counts.unindexed;
                seen_flows += counts.flows;
                if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0 || segidx_finish(writer, fd, UINT64_MAX) != 0)
                    return 1;
                fstat(fd, &status);
                index_bytes += (uint64_t)status.st_size;
                bytes += offset;
                segments++;
                segidx_begin(writer, 1, 0);
                if (ftruncate(journal, 0) != 0 || lseek(journal, 0, SEEK_SET) != 0)
                    return 1;
                offset = 24;
                finishing += now() - before;
            }
        }
        double spent = now() - start - finishing;
        if (round == 1)
            printf("%-5s size %4u flows %6u: %6.1f ns/packet", argv[1], size, flows, spent / (double)done * 1e9);
    }
    if (bytes > 0)
        printf(", index %.2f %%, finish %.1f ms/Mpkt, flows %llu, unindexed %llu",
               100.0 * (double)index_bytes / (double)bytes, finishing / (double)done * 1e9,
               (unsigned long long)seen_flows, (unsigned long long)unindexed);
    printf("%s\n", sum == 1 ? " " : "");
    return 0;
}
