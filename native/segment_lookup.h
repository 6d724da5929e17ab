/* Reading the index or journal of a segment: from a query to the parts of the PCAP that hold all wanted packets.
 *
 * Nothing but the pages that a lookup needs is read, and each is checked. The file may be written by a newer version,
 * be torn or damaged: that is EBADMSG, and then the PCAP has to be read whole or indexed again. A torn end of a journal
 * is no damage: what it does not cover counts as wanted. One thread at a time. All calls that get an index or
 * descriptor block.
 */

struct segidx_reader;

struct segidx_info {
    uint32_t linktype;
    uint32_t community_seed;
    uint32_t flows;     /* this and the following are 0 for a journal */
    uint32_t chunks;
    uint64_t pcap_bytes; /* indexed, from the start of the PCAP */
    uint64_t packets;
    uint64_t unindexed;
    uint64_t first_ns;
    uint64_t last_ns;
    uint32_t is_complete; /* 0: it is a journal */
    uint32_t unused;
};

/* A part of the PCAP that begins and ends between records. */
struct segidx_extent {
    uint64_t offset;
    uint64_t bytes;
};

/* fd stays the caller's and must outlive the reader. 0, ENOMEM, EBADMSG or the errno of the read. */
int segidx_reader_open(int fd, struct segidx_reader **out);
void segidx_reader_close(struct segidx_reader *reader);
void segidx_get_info(const struct segidx_reader *reader, struct segidx_info *out);

/* The parts of a PCAP, of which pcap_bytes have been written, to read for a query, ascending, in memory for
 * segidx_free_extents(). They hold every wanted packet and more. A journal may be looked up again when it has grown. */
int segidx_lookup(struct segidx_reader *reader, const struct flow_query *query, uint64_t pcap_bytes,
                  struct segidx_extent **out, size_t *n);
void segidx_free_extents(struct segidx_extent *extents);

/* The wanted flows that have a packet in the query's time or around it; *n says how many there are, and the first
 * capacity of them are stored. Flows that are only in filters are not among them. EOPNOTSUPP for a journal. */
int segidx_find_flows(struct segidx_reader *reader, const struct flow_query *query, struct segidx_flow *out,
                      size_t capacity, size_t *n);
