/* The wanted packets of many PCAP files as one stream in the order of time, by the block.
 *
 * Files are added while it goes on, when the time of their first packet is near, and end by themselves: so any number
 * of segments that follow each other costs no more memory than those of one moment, 512 KiB each. The order within one
 * file is kept, also where it is not that of time. Any PCAP is read as by pcap_reader.h; nanoseconds in host order
 * are written. One thread at a time.
 */

enum { PCAP_MERGE_INPUTS = 1024 };

struct pcap_merge;

struct pcap_merge_counts {
    uint64_t read_packets;
    uint64_t read_bytes;
    uint64_t packets; /* that were wanted and given */
    uint64_t bytes;   /* of them, with their headers */
    uint64_t first_ns;
    uint64_t last_ns;
};

/* A file that was read to its end. */
struct pcap_merge_ended {
    uint32_t number;  /* as pcap_merge_add() gave it; may be given again */
    int error;        /* an errno of the read: the rest is missing; or 0 */
    uint32_t damaged; /* extents of which the rest is missing, because of an impossible record */
    uint32_t torn;    /* extents at whose end stands a piece of a record, or that the file does not reach */
};

/* filter: of filter_compile(), for the link type of the files, or NULL. max_bytes: of all records that are given.
 * Returns 0, ENOMEM, EINVAL for a filter that is none, ELIBACC without libpcap. */
int pcap_merge_open(const struct flow_query *query, const uint8_t *filter, size_t filter_bytes, uint64_t max_bytes,
                    struct pcap_merge **out);
void pcap_merge_close(struct pcap_merge *merge);

/* Add a PCAP, of which extents (ascending; they are copied) are read. fd stays the caller's and must be open until the
 * file has ended. 0, ENOMEM, EMFILE beyond PCAP_MERGE_INPUTS, EBADMSG if it is no PCAP file, or the errno of the read.
 * Blocks. */
int pcap_merge_add(struct pcap_merge *merge, int fd, const struct segidx_extent *extents, size_t n, uint32_t *number,
                   uint32_t *linktype);

/* Put wanted records with times before until_ns into out until capacity (at least 512 KiB) may not hold another one or
 * 4 MiB have been read; *used says how many bytes. 0: no file has such packets any more. EAGAIN: there may be more.
 * EFBIG: the next one goes beyond max_bytes. Blocks; reads with idle priority (ioprio_set(2)), so that whoever writes
 * to the disk comes first. */
int pcap_merge_read(struct pcap_merge *merge, uint64_t until_ns, uint8_t *out, size_t capacity, size_t *used);

/* A file that ended and was not told yet: 0, or ENOENT if there is none. */
int pcap_merge_take_ended(struct pcap_merge *merge, struct pcap_merge_ended *out);
void pcap_merge_get_counts(const struct pcap_merge *merge, struct pcap_merge_counts *out);
