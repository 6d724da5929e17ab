/* Nanosecond PCAP in memory blocks, and a scan that finds where a torn file is still good.
 *
 * Format: pcap savefile (pcap-savefile(5)), magic 0xa1b23c4d, host byte order, version 2.4. A block is a plain byte
 * buffer: records are appended to it in memory, whole or not at all, and pcap_block_flush() writes it to a
 * descriptor. One thread at a time for each block; only pcap_block_flush() and pcap_scan_fd() do I/O and may block.
 */

struct pcap_block;

/* A block of capacity bytes (>= 128 KiB is sensible). Returns 0 or ENOMEM. */
int pcap_block_open(size_t capacity, struct pcap_block **out);
void pcap_block_close(struct pcap_block *block);

/* Append the file header (24 bytes). ENOBUFS if it does not fit. */
int pcap_block_header(struct pcap_block *block, uint32_t snaplen, uint32_t linktype);
/* Append one record; ts_ns since the epoch, 0 <= ts_ns < 2^32 s; caplen bytes of data, wire_len the true length
 * (>= caplen). ENOBUFS if it does not fit: flush and try again. EINVAL if a limit is broken. */
int pcap_block_record(struct pcap_block *block, uint64_t ts_ns, const uint8_t *data, uint32_t caplen, uint32_t wire_len);

size_t pcap_block_used(const struct pcap_block *block);
size_t pcap_block_free(const struct pcap_block *block);

/* Write the block to fd at the descriptor's position and empty it. Short writes are continued. On failure returns
 * errno and keeps what was not written at the start of the block, so that a later flush continues without a gap;
 * *written says how many bytes reached the file in either case. Blocks. */
int pcap_block_flush(struct pcap_block *block, int fd, size_t *written);

/* What a scan found. */
struct pcap_scan {
    uint64_t good_bytes;   /* length of the file up to its last whole record; 0 if not even the header is whole */
    uint64_t packets;
    uint64_t first_ns;     /* 0 if packets == 0 */
    uint64_t last_ns;
    uint32_t linktype;
    uint32_t snaplen;
};

/* Walk the records of a PCAP (micro- or nanosecond, either byte order). A record whose captured length exceeds
 * max(snaplen, 262144), or that runs past the end, ends the good part. Returns 0, EBADMSG if it is no PCAP file
 * (bad magic; an empty or shorter-than-header file is 0 with good_bytes = 0), or the errno of the I/O. Blocks. */
int pcap_scan_fd(int fd, struct pcap_scan *out);
/* The same on memory. */
int pcap_scan_bytes(const uint8_t *data, size_t len, struct pcap_scan *out);
