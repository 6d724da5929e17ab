/* The two files that index a segment: the journal while it grows, and the index when it is complete. Internal to the C
 * module, not for Python; include flow_key.h and segment_index.h before it.
 *
 * Both are in the byte order of the host, because they never leave it and can be rebuilt from the PCAP; another order
 * shows as a wrong version. A chunk is what begins in the same 16 KiB of the PCAP. A posting says that a flow has
 * packets in a chunk. Numbers in lists are gaps as varints: 7 bits a byte, lowest first, the highest bit for more.
 *
 * Why 16 KiB: in a capture of 1,024 flows that take turns, a mebibyte has packets of each, and an index by mebibytes
 * points at the whole file. 16 KiB hold 44 packets of IMIX; postings are then nearly as many as packets, which is 0.3 %
 * of the PCAP at a byte each, and smaller chunks would only make their table longer (now 0.24 %).
 *
 * Journal: a page with the header, then for each chunk one frame: struct journal_frame; struct segment_chunk; the keys
 * of the flows that are new in this chunk and get the next numbers; the numbers of all flows of the chunk, by their
 * first packets in it, with the gap's sign in the lowest bit; its filter, if it has unindexed packets. A frame whose
 * checksum is wrong ends the journal: it is torn there.
 *
 * Index: a page with the header, then the sections:
 *   chunks      struct segment_chunk
 *   flows       struct segidx_flow in the order of their keys, so that also the first addresses are in order
 *   postings    the chunks of each flow, where the flow says
 *   hosts       numbers (uint32_t) of all flows, in the order of their second addresses
 *   ports       2 * number + side of all flows with ports, in the order of the port
 *   communities numbers of all IP flows in the order of the first eight bytes of their Community ID digests
 *   filters     those that the chunks name
 * and after them a checksum (uint32_t) for each page of them, so that a reader checks exactly what it reads.
 */
#ifndef SEGMENT_FORMAT_H
#define SEGMENT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "flow_hash.h"

#define SEGMENT_MAGIC_INDEX UINT64_C(0x31584449574f4c46)   /* "FLOWIDX1" */
#define SEGMENT_MAGIC_JOURNAL UINT64_C(0x314c4e4a574f4c46) /* "FLOWJNL1" */
#define SEGMENT_VERSION 1
#define SEGMENT_PAGE 4096
#define SEGMENT_CHUNK_BYTES (1U << 14)
#define SEGMENT_CHUNKS_MAX (1U << 24)  /* 256 GiB */
#define SEGMENT_CHUNK_RECORDS_MAX 1024 /* empty ones of 16 bytes */
#define SEGMENT_NO_FILTER UINT32_MAX    /* every packet is indexed */
#define SEGMENT_LOST_FILTER (UINT32_MAX - 1) /* some are not and it is not known which */

/* A Bloom filter of the keys and addresses of unindexed packets: 204 flows of one 64-byte packet, the most that fit a
 * chunk, fill it so that a tenth of other flows seems to be there; 44 flows, so that one in 2,000 does. */
#define SEGMENT_FILTER_BYTES 256
#define SEGMENT_FILTER_HASHES 4

enum { SECTION_CHUNKS, SECTION_FLOWS, SECTION_POSTINGS, SECTION_HOSTS, SECTION_PORTS, SECTION_COMMUNITIES,
       SECTION_FILTERS, SECTION_SUMS, SECTIONS };

struct segment_section {
    uint64_t offset;
    uint64_t bytes;
};

struct segment_header {
    uint64_t magic;
    uint32_t version;
    uint32_t chunk_bytes;
    uint32_t linktype;
    uint32_t community_seed;
    uint32_t flows; /* the journal: the most that may come */
    uint32_t chunks;
    uint64_t pcap_bytes; /* what is indexed of the PCAP, from its start; the journal: 0 */
    uint64_t packets;
    uint64_t unindexed;
    uint64_t first_ns;
    uint64_t last_ns;
    struct flow_secret secret; /* of the filters */
    struct segment_section sections[SECTIONS];
    uint64_t sums_checksum;
    uint64_t checksum; /* of the header up to here */
};
_Static_assert(sizeof(struct segment_header) <= SEGMENT_PAGE, "the header has a page");

struct segment_chunk {
    uint64_t offset; /* of its first record */
    uint64_t end;
    uint64_t first_ns; /* the earliest and latest of its packets */
    uint64_t last_ns;
    uint32_t packets;
    uint32_t filter; /* its number, or SEGMENT_NO_FILTER, SEGMENT_LOST_FILTER; the journal: 0 if it follows */
};
_Static_assert(sizeof(struct segment_chunk) == 40, "no padding in files");

struct journal_frame {
    uint32_t bytes; /* after this header */
    uint32_t new_flows;
    uint32_t list_bytes;
    uint32_t unused;
    uint64_t checksum; /* of what follows, and of the three numbers and the offset in the file */
};

static inline uint64_t segment_checksum(uint64_t place, const void *data, size_t len)
{
    return kh_hash(place + 1, data, len);
}

static inline uint64_t segment_frame_checksum(uint64_t offset, const struct journal_frame *frame, const uint8_t *body)
{
    uint64_t place = segment_checksum(offset, frame, offsetof(struct journal_frame, checksum));
    return segment_checksum(place, body, frame->bytes);
}

static inline void segment_filter_set(uint8_t *filter, uint64_t hash)
{
    for (uint32_t i = 0; i < SEGMENT_FILTER_HASHES; i++) {
        uint32_t bit = ((uint32_t)hash + i * ((uint32_t)(hash >> 32) | 1)) % (SEGMENT_FILTER_BYTES * 8);
        filter[bit / 8] |= (uint8_t)(1 << bit % 8);
    }
}

static inline int segment_filter_has(const uint8_t *filter, uint64_t hash)
{
    for (uint32_t i = 0; i < SEGMENT_FILTER_HASHES; i++) {
        uint32_t bit = ((uint32_t)hash + i * ((uint32_t)(hash >> 32) | 1)) % (SEGMENT_FILTER_BYTES * 8);
        if (!(filter[bit / 8] >> bit % 8 & 1))
            return 0;
    }
    return 1;
}

/* An address alone in the filter. */
static inline uint64_t segment_addr_hash(const struct flow_secret *secret, uint8_t version, const uint8_t *addr)
{
    struct flow_key key = {.version = version, .unused = 1};
    memcpy(key.addr[0], addr, 16);
    return flow_hash(secret, &key);
}

/* A gap between numbers in any order. */
static inline uint32_t signed_gap(uint32_t from, uint32_t to)
{
    return to >= from ? (to - from) << 1 : (from - to) << 1 | 1;
}

static inline uint32_t signed_gap_end(uint32_t from, uint32_t gap)
{
    return gap & 1 ? from - (gap >> 1) : from + (gap >> 1);
}

static inline size_t varint_put(uint8_t *out, uint32_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        out[n++] = (uint8_t)(value | 128);
    out[n++] = (uint8_t)value;
    return n;
}

/* Bytes taken, 0 if there is no number in len bytes. */
static inline size_t varint_get(const uint8_t *p, size_t len, uint32_t *value)
{
    uint32_t result = 0;
    for (size_t n = 0; n < len && n < 5; n++) {
        result |= (uint32_t)(p[n] & 127) << (7 * n);
        if (p[n] < 128) {
            *value = result;
            return n + 1;
        }
    }
    return 0;
}

#endif
