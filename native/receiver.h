/* Packets from a socket into capture files: recvmmsg(2) with kernel times, true lengths and drop counts.
 *
 * No Python object for a packet. One thread at a time for each receiver; nothing here blocks.
 */

struct receiver;

struct receiver_counts {
    uint64_t packets;        /* handed over to a block or a batch */
    uint64_t bytes;          /* their true lengths */
    uint64_t truncated;      /* longer than the receive slot */
    uint64_t kernel_drops;   /* the kernel's 32-bit counters, their wrap handled */
    uint64_t untimed;        /* packets without a kernel time; they got the time of the call */
    uint64_t first_ns;       /* of the packets since the last receiver_clear_span(); 0 if none */
    uint64_t last_ns;
    uint64_t span_packets;   /* packets since the last receiver_clear_span() */
};

void receiver_close(struct receiver *receiver);
int receiver_fd(const struct receiver *receiver);

/* Receive until the socket is empty, max_packets have come, the next one would exceed max_bytes (of records), or the
 * block has no room for the record of a full slot. Returns EAGAIN if the socket is empty, ENOBUFS if the block is full,
 * EFBIG for max_bytes (the packet is pending then: the first of the next call), 0 if max_packets came, or the errno of
 * the failure. Pending socket errors (ECONNREFUSED from ICMP) are returned once. */
int receiver_receive(struct receiver *receiver, struct pcap_block *block, uint64_t max_packets, uint64_t max_bytes);
/* One system call for up to as many packets as the batch has slots; what was in it is forgotten. Returns 0 if there may
 * be more, EAGAIN if the socket is empty now, EBUSY if packets are pending, or the errno of the failure; only in the
 * first two cases the batch may hold packets. */
int receiver_fill(struct receiver *receiver, struct packet_batch *batch);
/* Packets taken from the kernel that are in no block yet. */
size_t receiver_pending(const struct receiver *receiver);

/* Bytes of the socket's receive buffer that are used and that there are, as the kernel counts them: what it allocated
 * for a packet, which is more than the packet. Both 0 if it does not tell. */
void receiver_get_memory(const struct receiver *receiver, uint32_t *used, uint32_t *limit);
/* As in its counts; cheap. */
uint64_t receiver_packets(const struct receiver *receiver);
void receiver_get_counts(struct receiver *receiver, struct receiver_counts *out);
void receiver_clear_span(struct receiver *receiver);
