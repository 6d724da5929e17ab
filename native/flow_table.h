/* The flows of an interface: counts for each, a verdict for each packet, in memory that is fixed when it is opened.
 *
 * An open-addressed table of 64-byte entries in sets of eight. A flow is known by a 64-bit hash with a secret instead
 * of its key. A new flow in a full set replaces, in this order: the one longest idle of those idle longer than
 * idle_ns, of the young (one direction only and fewer than 8 packets) and closed (FIN or RST) ones, of the others.
 * Flows that were lifted are never replaced before they are idle. So a scan or SYN flood replaces its own entries,
 * because each is young, and the flows of before it stay; a new honest flow must be answered before the flood has
 * gone once through what is left. A flow that was replaced begins at zero when it comes back, so its cutoff does.
 *
 * One thread at a time. No call blocks.
 */

struct flow_table;

enum { FLOW_KEEP, FLOW_CUT };

/* What flow_table_track() found out about a packet. */
struct flow_hit {
    struct flow_packet packet;
    uint32_t slot;    /* of its entry; UINT32_MAX: untracked */
    uint32_t verdict; /* FLOW_KEEP, FLOW_CUT */
};

/* Both directions: [0] sent by addr[0] of the key. */
struct flow_totals {
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t packets[2]; /* at most 2^32 - 1 */
    uint64_t bytes[2];   /* payload of the transport; this and the next at most 2^48 - 1 */
    uint64_t wire_bytes[2];
    int is_lifted;
};

struct flow_counts {
    uint64_t packets;
    uint64_t flows;               /* begun */
    uint64_t other;               /* packets that are not IP; they are never cut */
    uint64_t expired;             /* flows that were idle too long and were replaced or began anew */
    uint64_t evicted_young;       /* replaced before they were idle: young or closed ones */
    uint64_t evicted_established; /* the others */
    uint64_t untracked;           /* packets without an entry, because lifted flows fill its set; never cut */
    uint64_t cut_packets;
    uint64_t cut_bytes;           /* their wire bytes */
    uint64_t later_fragments;
    uint64_t unresolved_fragments; /* those without a first fragment */
    uint64_t lifted;              /* flows that are lifted now */
};

/* slots: a power of two, 8 to 2^26 (64 bytes each); idle_ns: after that long without a packet a flow is over;
 * cutoff: wire bytes of both directions together after which packets of an IP flow are cut, UINT64_MAX for never.
 * Returns 0, EINVAL or ENOMEM. */
int flow_table_open(uint32_t slots, uint64_t idle_ns, uint64_t cutoff, struct flow_table **out);
void flow_table_close(struct flow_table *table);

/* Parse n packets, count them for their flows and fill n hits. Entries are fetched ahead within a call, so give it a
 * block's packets in batches of 16 to 256. The packet that crosses the cutoff is kept. hits[].slot is good until the
 * next call. */
void flow_table_track(struct flow_table *table, uint32_t linktype, const struct packet_view *packets, size_t n,
                      struct flow_hit *hits);

void flow_table_set_cutoff(struct flow_table *table, uint64_t cutoff);
uint64_t flow_table_cutoff(const struct flow_table *table);
/* Cut a flow no more, and keep its entry until it is idle; it need not have been seen yet. ts_ns is the present of the
 * packets. ENOSPC if a quarter of the slots, or all of its set, are lifted. */
int flow_table_lift(struct flow_table *table, const struct flow_key *key, uint64_t ts_ns);
/* ENOENT if it is not in the table. */
int flow_table_unlift(struct flow_table *table, const struct flow_key *key);
int flow_table_get(const struct flow_table *table, const struct flow_key *key, struct flow_totals *out);
void flow_table_get_counts(const struct flow_table *table, struct flow_counts *out);
