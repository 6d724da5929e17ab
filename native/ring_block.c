#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#define HEADER_ALIGN 8
#define GATHER_AHEAD 4096
#define COPY_AHEAD 1024
#define FETCH_MAX 2048
#define LINE 64U
#define LINES_MAX 2048U

/* The kernel wrote it; but a walk that leaves the block would be silent. */
static int is_inside(uint32_t at, const struct tpacket3_hdr *header)
{
    return header->tp_mac <= RING_BLOCK - at && header->tp_snaplen <= RING_BLOCK - at - header->tp_mac &&
           header->tp_snaplen <= CAPLEN_MAX;
}

static uint32_t tag_of(const struct tpacket3_hdr *header)
{
    if (!(header->tp_status & TP_STATUS_VLAN_VALID) || header->tp_snaplen < ADDRESSES_BYTES)
        return 0;
    uint32_t tpid = header->tp_status & TP_STATUS_VLAN_TPID_VALID ? header->hv1.tp_vlan_tpid : ETH_P_8021Q;
    return tpid << 16 | (header->hv1.tp_vlan_tci & UINT16_MAX);
}

/* Another processor wrote the block, and this one fetches ahead within a page only: it is told what comes, in order and
 * once. When many headers are looked at before their packets, that must be further ahead. Behind the end of the block
 * this does no harm. */
static inline void fetch_ahead(const uint8_t *from, uint32_t len)
{
    for (uint32_t at = 0; at < len && at < FETCH_MAX; at += LINE)
        __builtin_prefetch(from + at);
}

static uint32_t next_of(const struct ring_cursor *cursor, const struct tpacket3_hdr *header)
{
    uint32_t rest = RING_BLOCK - cursor->at;
    return cursor->at + (header->tp_next_offset < rest ? header->tp_next_offset : rest);
}

size_t ring_gather(struct ring_cursor *cursor, size_t most, struct ring_batch *batch, struct ring_counts *counts,
                   int *error)
{
    size_t n = 0;
    uint64_t bytes = 0;
    for (; n < most && cursor->left > 0; n++) {
        if (cursor->at > RING_BLOCK - sizeof(struct tpacket3_hdr) || cursor->at % HEADER_ALIGN != 0) {
            *error = EBADMSG;
            break;
        }
        const struct tpacket3_hdr *header = (const void *)(cursor->block + cursor->at);
        if (!is_inside(cursor->at, header)) {
            *error = EBADMSG;
            break;
        }
        uint32_t tag = tag_of(header);
        struct packet_view *packet = &batch->packets[n];
        packet->data = cursor->block + cursor->at + header->tp_mac;
        packet->ts_ns = header->tp_sec * SECOND_NS + header->tp_nsec;
        packet->caplen = header->tp_snaplen;
        packet->wire_len = header->tp_len + (tag != 0 ? TAG_BYTES : 0);
        batch->tags[n] = tag;
        counts->tags += tag != 0;
        counts->hardware_times += (header->tp_status & TP_STATUS_TS_RAW_HARDWARE) != 0;
        bytes += packet->wire_len;
        cursor->left--;
        if (most > 1)
            fetch_ahead((const uint8_t *)header + GATHER_AHEAD, header->tp_next_offset);
        cursor->at = next_of(cursor, header);
    }
    counts->packets += n;
    counts->bytes += bytes;
    batch->n = n;
    batch->next = 0;
    return n;
}

/* Whole lines, which up to a common MTU is quicker than a call; reads and writes less than LINE behind the end. */
static inline void copy_lines(uint8_t *to, const uint8_t *from, uint32_t len)
{
    if (len > LINES_MAX) {
        memcpy(to, from, len);
        return;
    }
    for (uint32_t done = 0; done < len; done += LINE)
        memcpy(to + done, from + done, LINE);
}

void ring_copy(struct ring *ring, struct ring_output *output)
{
    struct ring_segment *segment = &output->segment;
    if (segment->packets == 0 || output->max_bytes <= output->base)
        return;
    struct ring_cursor cursor = ring->cursor;
    uint8_t *at = output->at;
    uint64_t room = (uint64_t)(output->limit - output->start), allowed = output->max_bytes - output->base;
    const uint8_t *stop = output->start + (allowed < room ? allowed : room);
    uint64_t first_ns = segment->first_ns, last_ns = segment->last_ns, bytes = 0, hardware_times = 0;
    for (; cursor.left > 0; cursor.left--) {
        const struct tpacket3_hdr *header = (const void *)(cursor.block + cursor.at);
        if (cursor.at > RING_BLOCK - sizeof *header || cursor.at % HEADER_ALIGN != 0 || !is_inside(cursor.at, header))
            break;
        uint64_t ts_ns = header->tp_sec * SECOND_NS + header->tp_nsec;
        uint32_t caplen = header->tp_snaplen, from = cursor.at + header->tp_mac, lines = (caplen + LINE - 1) & -LINE;
        if (tag_of(header) != 0 || caplen > ring->snaplen || caplen < header->tp_len || ts_ns >= output->until_ns ||
            lines > RING_BLOCK - from || stop - at < (ptrdiff_t)(PCAP_RECORD_HEADER + lines))
            break;
        fetch_ahead((const uint8_t *)header + COPY_AHEAD, header->tp_next_offset);
        struct pcap_record record = {header->tp_sec, header->tp_nsec, caplen, header->tp_len};
        memcpy(at, &record, sizeof record);
        copy_lines(at + sizeof record, cursor.block + from, caplen);
        at += sizeof record + caplen;
        first_ns = ts_ns < first_ns ? ts_ns : first_ns;
        last_ns = ts_ns > last_ns ? ts_ns : last_ns;
        bytes += header->tp_len;
        hardware_times += (header->tp_status & TP_STATUS_TS_RAW_HARDWARE) != 0;
        cursor.at = next_of(&cursor, header);
    }
    uint64_t n = ring->cursor.left - cursor.left;
    output->at = at;
    segment->packets += n;
    segment->wire_bytes += bytes;
    segment->first_ns = first_ns;
    segment->last_ns = last_ns;
    ring->counts.packets += n;
    ring->counts.bytes += bytes;
    ring->counts.stored += n;
    ring->counts.hardware_times += hardware_times;
    ring->cursor = cursor;
}
