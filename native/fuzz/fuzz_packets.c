#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pcap_file.h"
#include "pcap_scan.h"
#include "synth.h"
#include "packet_batch.h"
#include "receiver.h"
#include "ethernet.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

#define BLOCK_BYTES 8192
#define SINK_BYTES (1 << 20)
#define PIPE_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file behind a pipe that takes as much as it likes. */
struct sink {
    int reader, writer;
    size_t len;
    uint8_t bytes[SINK_BYTES];
};

static void take(struct sink *sink, size_t most)
{
    ssize_t n = read(sink->reader, sink->bytes + sink->len, most < SINK_BYTES - sink->len ? most : SINK_BYTES - sink->len);
    if (n > 0)
        sink->len += (size_t)n;
}

static void take_all(struct sink *sink)
{
    for (size_t before = SIZE_MAX; before != sink->len;) {
        before = sink->len;
        take(sink, PIPE_BYTES);
    }
}

static const uint8_t section[] = {0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255,
                                  255, 255, 255, 255, 255, 255, 255, 28, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 1, 0,
                                  0, 0, 0, 0, 4, 0, 20, 0, 0, 0};

/* The tag must stand behind the addresses, and all other bytes must be as before. */
static void check_tag(const uint8_t *data, size_t len, uint16_t tpid, uint16_t tci)
{
    uint8_t frame[300] = {0};
    memcpy(frame + 4, data, len);
    if (!ether_restore_tag(frame, len, tpid, tci)) {
        REQUIRE(len < 12 && memcmp(frame + 4, data, len) == 0);
        return;
    }
    REQUIRE(memcmp(frame, data, 12) == 0 && memcmp(frame + 16, data + 12, len - 12) == 0);
    REQUIRE((frame[12] << 8 | frame[13]) == tpid && (frame[14] << 8 | frame[15]) == tci);
}

/* Over everything behind the addresses of a header, of which the checksum is part, the sum is all ones. */
static uint32_t sum(uint32_t total, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        total += (uint32_t)data[i] << (i % 2 ? 0 : 8);
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return total;
}

static void check_synth(const uint8_t *ends, const uint8_t *payload, uint32_t len, uint8_t flags)
{
    uint8_t out[80];
    size_t udp_len = 0, tcp_len = 0;
    int error = synth_udp(ends, ends + 20, payload, len, len, out, &udp_len);
    int is_ip = ends[18] == ends[38] && (ends[18] == 4 || ends[18] == 6);
    REQUIRE(error == (is_ip ? 0 : EINVAL));
    if (!is_ip)
        return;
    size_t ip_len = ends[18] == 4 ? 20 : 40, at = ends[18] == 4 ? 12 : 8;
    REQUIRE(udp_len == ip_len + 8);
    uint32_t total = sum(17 + 8 + len, out + at, ip_len - at);
    REQUIRE(sum(sum(total, out + ip_len, 8), payload, len) == 0xffff);
    REQUIRE(synth_tcp(ends, ends + 20, 1, 2, flags, payload, len, out, &tcp_len) == 0 && tcp_len <= sizeof out);
    total = sum((uint32_t)(6 + tcp_len - ip_len) + len, out + at, ip_len - at);
    REQUIRE(sum(sum(total, out + ip_len, tcp_len - ip_len), payload, len) == 0xffff);
    REQUIRE(ends[18] == 6 || sum(0, out, ip_len) == 0xffff);
}

/* One step of data; returns how much it used. */
static size_t step(struct pcap_block *block, struct sink *sink, const uint8_t *data, size_t size, uint64_t *packets)
{
    size_t written, len = size > 1 ? data[1] : 0;
    if (len > size - 2)
        len = size - 2;
    switch (size > 2 ? data[0] & 7 : 7) {
    case 1:
    case 2: {
        uint32_t more = data[0] >> 4;
        int error = pcap_block_record(block, *packets, data + 2, (uint32_t)len, (uint32_t)len + more);
        REQUIRE(error == 0 || error == ENOBUFS);
        *packets += error == 0;
        break;
    }
    case 3:
        pcap_block_flush(block, sink->writer, &written);
        return 1;
    case 4:
        take(sink, data[1] * 16u);
        return 2;
    case 5:
        take_all(sink);
        sink->len -= pcap_block_rewind(block);
        return 1;
    case 6:
        check_tag(data + 2, len, (uint16_t)(data[0] << 8 | data[1]), (uint16_t)(data[1] << 8));
        if (len > 40)
            check_synth(data + 2, data + 42, (uint32_t)len - 40, data[0] >> 3);
        break;
    default:
        return 1;
    }
    return 2 + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sink sink;
    struct pcap_block *block;
    struct pcap_scan scan;
    struct pcap_span span;
    uint64_t packets = 0;
    size_t written;
    int ends[2];
    if (size < 2)
        return 0;
    int format = data[0] & 1;
    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    sink.reader = ends[0];
    sink.writer = ends[1];
    sink.len = 0;
    REQUIRE(pcap_block_open(BLOCK_BYTES, &block) == 0);
    REQUIRE(pcap_block_configure(block, format, 1u + data[1], 0) == 0);
    REQUIRE((format == 0 ? pcap_block_header(block, 65535, 1) : pcap_block_raw(block, section, sizeof section)) == 0);
    for (size_t at = 2; at < size;)
        at += step(block, &sink, data + at, size - at, &packets);
    do
        take_all(&sink);
    while (pcap_block_flush(block, sink.writer, &written) != 0);
    take_all(&sink);
    REQUIRE(pcap_block_used(block) == 0 && pcap_block_torn(block) == 0);
    pcap_block_take_span(block, &span);
    REQUIRE(pcap_scan_bytes(sink.bytes, sink.len, &scan) == 0);
    REQUIRE(scan.good_bytes == sink.len && scan.packets == packets && span.packets == packets);
    REQUIRE(span.size + (format == 0 ? 24 : sizeof section) == sink.len);
    pcap_block_close(block);
    close(ends[0]);
    close(ends[1]);
    return 0;
}
