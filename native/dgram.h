/* Datagrams from a socket straight into PCAP blocks: recvmmsg(2) with kernel times, true lengths and drop counts.
 *
 * No Python object for a packet. One thread at a time for each receiver; dgram_receive() does not block.
 */

struct dgram_receiver;

struct dgram_counts {
    uint64_t packets;        /* taken from the kernel */
    uint64_t bytes;          /* their true lengths */
    uint64_t truncated;      /* datagrams longer than the receive slot (MSG_TRUNC) */
    uint64_t kernel_drops;   /* SO_RXQ_OVFL, its 32-bit wrap handled */
    uint64_t untimed;        /* datagrams without a kernel time; they got the time of the call */
    uint64_t first_ns;       /* of the packets since the last dgram_clear_span(); 0 if none */
    uint64_t last_ns;
    uint64_t span_packets;   /* packets since the last dgram_clear_span() */
};

/* slots: datagrams for each system call (<= 1024); slot_bytes: longest datagram kept whole (<= 65535). Sets
 * SO_TIMESTAMPNS and SO_RXQ_OVFL on fd, which stays the caller's. Returns 0 or an errno: EINVAL for
 * the limits, EPROTOTYPE for a stream socket. */
int dgram_open(int fd, size_t slots, size_t slot_bytes, struct dgram_receiver **out);
void dgram_close(struct dgram_receiver *receiver);

/* Receive until the socket is empty, max_packets have come, or the block has no room for another full batch.
 * Returns EAGAIN if the socket is empty, ENOBUFS if the block is full, 0 if max_packets came, or the errno of the
 * failure. Pending socket errors (ECONNREFUSED from ICMP) are returned once. */
int dgram_receive(struct dgram_receiver *receiver, struct pcap_block *block, size_t max_packets);

void dgram_get_counts(const struct dgram_receiver *receiver, struct dgram_counts *out);
void dgram_clear_span(struct dgram_receiver *receiver);
