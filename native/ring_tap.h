/* Who looks at the packets of a ring as they pass: the flow table, the cutoff, the index. Not for Python; include
 * packet_view.h before it. */
#ifndef RING_TAP_H
#define RING_TAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BATCH 32
#define RING_UNJUDGED SIZE_MAX

/* Where the record of a packet lies in the segment, with its 16 bytes of header. */
struct ring_place {
    uint64_t offset;
    uint64_t end;
    size_t index; /* in the batch that was judged, or RING_UNJUDGED: the same kind for all packets of a call */
};

/* Packets come in the order of their arrival, at most RING_BATCH at a time. Nothing outlives a call. */
struct ring_tap {
    void *context;
    /* Whether to judge from the next batch on. 0 if everything is kept, which is faster: then each byte of the ring is
     * touched once, in order, and stored() sees it in the cache. Any thread may change it. */
    _Atomic int is_judging;
    /* Each packet once, before it is copied: keep[] is all 1, and what gets 0 is not stored but counted as cut. The
     * bytes are those in the ring, without the VLAN tag that the kernel has taken off (but wire_len counts it). */
    void (*judge)(void *context, uint32_t linktype, const struct packet_view *packets, size_t n, uint8_t *keep);
    /* Packets that are in the segment now, as they are there: cut and with their tags. Before the next judge() of the
     * same ring, and before ring_run() returns, all of them have come. What was discarded does not come. */
    void (*stored)(void *context, uint32_t linktype, const struct packet_view *packets, const struct ring_place *places,
                   size_t n);
};

#endif
