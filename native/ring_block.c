#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stddef.h>
#include <stdint.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#define HEADER_ALIGN 8
#define FETCH_AHEAD 4096
#define FETCH_MAX 2048

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

/* Many headers are looked at before the packets are copied: the processor, which fetches ahead only what is touched in
 * order, needs to be told, and gets everything in order. Behind the end of the block this does no harm. */
static void fetch_ahead(const uint8_t *from, uint32_t len)
{
    for (uint32_t at = 0; at < len && at < FETCH_MAX; at += 64)
        __builtin_prefetch(from + FETCH_AHEAD + at);
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
        uint32_t rest = RING_BLOCK - cursor->at;
        if (most > 1)
            fetch_ahead(cursor->block + cursor->at, header->tp_next_offset);
        cursor->at += header->tp_next_offset < rest ? header->tp_next_offset : rest;
    }
    counts->packets += n;
    counts->bytes += bytes;
    batch->n = n;
    batch->next = 0;
    return n;
}
