/* Packets in memory, between the kernel and several capture files. One thread at a time for each batch. */

struct packet_batch;

struct packet {
    uint64_t ts_ns;
    uint64_t offset;   /* of its data */
    uint32_t caplen;
    uint32_t wire_len; /* the true length */
    struct endpoint from;
    struct endpoint to;
};

/* slots: packets (<= 1024); slot_bytes: the longest kept whole (<= 262144). Returns 0, EINVAL or ENOMEM. */
int packet_batch_open(size_t slots, size_t slot_bytes, struct packet_batch **out);
void packet_batch_close(struct packet_batch *batch);

size_t packet_batch_count(const struct packet_batch *batch);
const struct packet *packet_batch_packets(const struct packet_batch *batch);
const uint8_t *packet_batch_data(const struct packet_batch *batch);
size_t packet_batch_data_bytes(const struct packet_batch *batch);

/* Append the packets from index *next on to a block, as many as max_packets and max_bytes (of records) allow; *next is
 * moved behind the last one. Returns 0 if max_packets are stored, else EAGAIN if all are, ENOBUFS if the block is
 * full, EFBIG if the next one would exceed max_bytes, EINVAL if its time is out of the format's range, or ERANGE if
 * *next is behind the end. */
int packet_batch_copy(const struct packet_batch *batch, struct pcap_block *block, uint64_t max_packets,
                      uint64_t max_bytes, size_t *next);
