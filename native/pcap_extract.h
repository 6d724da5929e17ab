/* Packets out of segments and indexes into being: the loops over the records of a PCAP file.
 *
 * Any PCAP (micro- or nanoseconds, either byte order, records up to 262144 bytes) is read; nanoseconds in host order
 * are written. All calls but the closing ones block and work by the block. One thread at a time for each object.
 */

struct pcap_extract;

struct pcap_extract_counts {
    uint64_t read_packets;
    uint64_t read_bytes;
    uint64_t packets; /* that were wanted and given */
    uint64_t first_ns;
    uint64_t last_ns;
    uint32_t linktype;
    uint32_t snaplen;
};

/* Read the parts of the PCAP fd (extents, ascending; they are copied) for what a query wants. fd stays the caller's
 * and must outlive the object. 0, ENOMEM, EBADMSG if it is no PCAP file, or the errno of the read. */
int pcap_extract_open(int fd, const struct flow_query *query, const struct segidx_extent *extents, size_t n,
                      struct pcap_extract **out);
void pcap_extract_close(struct pcap_extract *extract);

/* Put records of wanted packets into out, in the order of the file, until capacity (at least 512 KiB) does not hold
 * the longest one any more, 4 MiB have been read, or the end; *used says how many bytes. 0 at the end, EAGAIN if there
 * may be more, EBADMSG if an extent holds an impossible record (the next call goes on behind the extent), or the errno
 * of the read. */
int pcap_extract_read(struct pcap_extract *extract, uint8_t *out, size_t capacity, size_t *used);
void pcap_extract_get_counts(const struct pcap_extract *extract, struct pcap_extract_counts *out);

/* Index a whole PCAP: track and post every packet of pcap_fd from its start, then write the index to out_fd (an empty
 * file) unless that is -1. Begins the writer's segment with the link type of the file. A torn or impossible record
 * ends the PCAP, as counts->pcap_bytes then tells. */
int segidx_index_pcap(struct segidx_writer *writer, struct flow_table *table, uint16_t community_seed, int pcap_fd,
                      int out_fd, struct segidx_counts *counts);
