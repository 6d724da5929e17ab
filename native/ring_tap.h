/* Who looks at the packets of a ring as they pass: the flow table, the cutoff, the index. Not for Python; include
 * packet_view.h before it. */
#ifndef RING_TAP_H
#define RING_TAP_H

#include <stddef.h>
#include <stdint.h>

#define RING_BATCH 64

/* Where the record of a packet lies in the segment, with its 16 bytes of header. */
struct ring_place {
    uint64_t offset;
    uint64_t end;
};

/* Packets come in batches of at most RING_BATCH in the order of their arrival, without the VLAN tag that the kernel has
 * taken off (wire_len counts it). Their bytes stay where they are until the whole batch is stored or discarded. */
struct ring_tap {
    void *context;
    /* Each packet of a batch once, before any is stored. keep[] is all 1; what gets 0 is not stored but counted as cut. */
    void (*judge)(void *context, uint32_t linktype, const struct packet_view *packets, size_t n, uint8_t *keep);
    /* Packets [from, to) of the batch are in the segment, those with keep[i] at places[i]. A batch that meets the end of
     * a segment comes in parts; what was discarded does not come. */
    void (*stored)(void *context, const struct packet_view *packets, const uint8_t *keep,
                   const struct ring_place *places, size_t from, size_t to);
};

#endif
