/* Capture files in memory blocks: nanosecond PCAP or pcapng records, written by the block.
 *
 * Formats: pcap savefile (pcap-savefile(5)), magic 0xa1b23c4d, version 2.4; pcapng (draft-ietf-opsawg-pcapng) with
 * enhanced packet blocks of interface 0, whose times are nanoseconds. Host byte order. A block is a plain byte buffer:
 * records are appended to it in memory, whole or not at all, and pcap_block_flush() writes it to a descriptor. One
 * thread at a time for each block; only pcap_block_flush() does I/O and may block.
 */

struct pcap_block;

/* A block of capacity bytes (>= 128 KiB is sensible) for PCAP. Returns 0 or ENOMEM. */
int pcap_block_open(size_t capacity, struct pcap_block **out);
void pcap_block_close(struct pcap_block *block);

/* format: 0 PCAP, 1 pcapng. snaplen: bytes stored of each packet at most, 1 to 262144. ip_headers: packet_batch_copy()
 * puts IP and UDP headers before payloads whose addresses are known. Returns 0, EBUSY if the block is not empty, or
 * EINVAL. */
int pcap_block_configure(struct pcap_block *block, int format, uint32_t snaplen, int ip_headers);

/* Append the PCAP file header (24 bytes). ENOBUFS if it does not fit, EEXIST if one waits in the block. */
int pcap_block_header(struct pcap_block *block, uint32_t snaplen, uint32_t linktype);
/* Append whole pcapng blocks made elsewhere. ENOBUFS if they do not fit. */
int pcap_block_raw(struct pcap_block *block, const uint8_t *data, size_t len);
/* Append one record; ts_ns since the epoch, in PCAP < 2^32 s; caplen bytes of data, wire_len the true length
 * (>= caplen). ENOBUFS if it does not fit: flush and try again. EINVAL if a limit is broken. */
int pcap_block_record(struct pcap_block *block, uint64_t ts_ns, const uint8_t *data, uint32_t caplen, uint32_t wire_len);
/* Append count records, whose data follow each other, as many as max_packets and max_bytes (of records) allow. *done
 * is how many. Returns 0 if max_packets are done, else EAGAIN if all are, ENOBUFS if the block is full, EFBIG if the
 * next one would exceed max_bytes, or EINVAL if it breaks a limit. */
int pcap_block_extend(struct pcap_block *block, size_t count, const uint64_t *times_ns, const uint32_t *caplens,
                      const uint32_t *wire_lens, const uint8_t *data, uint64_t max_packets, uint64_t max_bytes,
                      size_t *done);

size_t pcap_block_used(const struct pcap_block *block);
size_t pcap_block_free(const struct pcap_block *block);
/* The pcap_block_used() bytes that wait; valid until the next call. */
const uint8_t *pcap_block_bytes(const struct pcap_block *block);
/* How large the record of caplen stored bytes is. */
size_t pcap_record_bytes(int format, uint32_t caplen);

/* Packets that went into a block. */
struct pcap_span {
    uint64_t packets;
    uint64_t size;       /* bytes of their records */
    uint64_t wire_bytes; /* true lengths, without synthesised headers */
    uint64_t truncated;
    uint64_t first_ns;   /* the earliest; 0 if packets == 0 */
    uint64_t last_ns;    /* the latest */
};

/* The packets since the last call. */
void pcap_block_take_span(struct pcap_block *block, struct pcap_span *out);

/* Write the block to fd at the descriptor's position and empty it. Short writes are continued. On failure returns
 * errno and keeps what was not written, so that a later flush continues without a gap; *written says how many bytes
 * reached the file in either case. Blocks. */
int pcap_block_flush(struct pcap_block *block, int fd, size_t *written);
/* How many of the bytes that reached the file belong to a record that is not whole there; 0 after a success. */
size_t pcap_block_torn(const struct pcap_block *block);
/* Let the next flush begin with the whole torn record, because its bytes are cut off the file; returns how many. */
size_t pcap_block_rewind(struct pcap_block *block);
