/* The index of one PCAP segment: which flows are in it, their counts, and in which 16 KiB their packets are.
 *
 * A writer collects it in memory while the segment is written, appends to a journal what a reader needs meanwhile, and
 * writes the sorted index when the segment is complete. Memory and file are bounded: at most max_flows flows, and
 * never more than 2 % of the PCAP and 4 MiB for them; packets of further flows are counted as unindexed and go into a
 * Bloom filter of 256 bytes for their 16 KiB, by key and addresses, so that a query by them still finds all packets
 * and reads little too much; one by port, protocol or Community ID alone reads all that has a filter. So a flood of
 * one-packet flows costs 1.6 % of the PCAP for filters and 0.3 % for the table of chunks beyond those limits.
 *
 * For a block of packets: flow_table_track(), segidx_prefetch(), then for each packet that is kept its copy into the
 * PCAP and segidx_post(). The calls that name a descriptor block; the others do not.
 */

struct segidx_writer;

struct segidx_counts {
    uint64_t packets;
    uint64_t unindexed; /* packets that are found by a filter only */
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t pcap_bytes; /* where the last record ends */
    uint32_t flows;
    uint32_t chunks;
};

/* A flow in a segment; both directions, [0] sent by addr[0]. Numbers of packets stop at 2^32 - 1. */
struct segidx_flow {
    struct flow_key key;
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t bytes[2]; /* payload of the transport */
    uint64_t wire_bytes[2];
    uint32_t packets[2];
    uint32_t postings; /* for the reader: where, and how many bytes */
    uint32_t postings_bytes;
};

/* max_flows: 64 to 2^24, 104 bytes of memory each when they come. A writer serves one segment after another; its
 * memory stays. Use two in turn, if segidx_finish() is to run beside the next segment. Returns 0, EINVAL, ENOMEM. */
int segidx_writer_open(uint32_t max_flows, struct segidx_writer **out);
void segidx_writer_close(struct segidx_writer *writer);

/* Begin a segment whose records follow a file header of 24 bytes. Forgets the one before. */
void segidx_begin(struct segidx_writer *writer, uint32_t linktype, uint16_t community_seed);

/* Fetch what segidx_post() will touch for these packets. */
void segidx_prefetch(const struct segidx_writer *writer, struct flow_table *table, const struct flow_hit *hits,
                     size_t n);
/* Add a packet that flow_table_track() has just seen, and whose record begins at offset and ends at end of the PCAP;
 * offsets ascend. */
void segidx_post(struct segidx_writer *writer, struct flow_table *table, const struct flow_hit *hit, uint64_t ts_ns,
                 uint32_t wire_len, uint64_t offset, uint64_t end);

void segidx_get_counts(const struct segidx_writer *writer, struct segidx_counts *out);

/* Append to fd the chunks that were completed since the last call and end within the first pcap_bytes of the PCAP,
 * which a reader finds there, after the header at the first call of a segment. A failed write leaves a torn frame,
 * which readers ignore; later calls add nothing then but return the same errno. */
int segidx_journal(struct segidx_writer *writer, int fd, uint64_t pcap_bytes);
/* Write the index of the first pcap_bytes of the PCAP to fd, an empty file; UINT64_MAX: of all. Less than all where a
 * write of the PCAP failed: then nothing beyond is pointed at, but what flows of before lost stays in their counts.
 * Takes about 0.1 s for 65,000 flows in 1 GiB. 0, ENOMEM or the errno of the write. The writer needs segidx_begin()
 * before it is used again. */
int segidx_finish(struct segidx_writer *writer, int fd, uint64_t pcap_bytes);
