/* Where a ring's packets go: one segment of nanosecond PCAP (pcap-savefile(5)) after the other, in a file or in memory.
 *
 * RING_CACHED    a file through the page cache, from one buffer that stays in the processor's cache
 * RING_DIRECT    a file past the page cache (O_DIRECT) from a thread of its own with a few large aligned buffers; the
 *                end of the file goes through the page cache. Where the file system refuses, it becomes RING_CACHED.
 * RING_AUTOMATIC RING_DIRECT where the file system says how to align (statx(2)) or is ext4 or XFS, else RING_CACHED
 * RING_MEMORY    pages of a memfd without a name, written in place; a reader reads the descriptor as it would a file
 *
 * An output serves one segment at a time; while one finishes, which blocks, another can take over. One thread at a
 * time, but ring_output_visible() and ring_output_fd(), which any thread may ask.
 */

enum { RING_AUTOMATIC, RING_CACHED, RING_DIRECT, RING_MEMORY };

struct ring_output;

/* buffer_bytes: of each buffer, 0 for what has measured best; RING_MEMORY: what a segment holds (1 MiB to 64 GiB). Its
 * pages are taken now, so this blocks. 0, EINVAL, ENOMEM, or the errno of what the kernel refused. */
int ring_output_open(int kind, size_t buffer_bytes, struct ring_output **out);
/* Waits for writes that are under way. What was not finished stays as it is. */
void ring_output_close(struct ring_output *output);

struct ring_segment_options {
    uint32_t linktype;
    uint32_t snaplen;      /* 1 to 262144 */
    uint64_t max_bytes;    /* a segment that holds packets never becomes larger; UINT64_MAX: no limit */
    uint64_t until_ns;     /* the first packet from then on belongs into the next one; UINT64_MAX: no limit */
    uint64_t preallocate;  /* bytes to reserve on a disk; a refusal is no error */
    uint64_t every_ns;     /* not 0: until_ns is the next multiple of it behind the time of the first packet */
};

/* Begin a segment in the empty file fd, opened for reading and writing, which stays the caller's until
 * ring_output_finish() has returned; ignored for RING_MEMORY, whose former segment is overwritten. 0, EBUSY if one is
 * open, EINVAL, or the errno of the file. */
int ring_output_begin(struct ring_output *output, int fd, const struct ring_segment_options *options);

/* Write what waits, so that a reader of the file sees all records so far. Blocks. 0 or the errno, as from
 * ring_output_error(); EALREADY if none is open. */
int ring_output_sync(struct ring_output *output);

struct ring_segment {
    uint64_t packets;
    uint64_t bytes;      /* of the file, with its header: where the last whole record ends */
    uint64_t wire_bytes; /* true lengths */
    uint64_t truncated;
    uint64_t first_ns;   /* earliest and latest; 0 if packets == 0 */
    uint64_t last_ns;
    uint64_t lost_packets; /* finished: accepted, but not in the file because of the error */
    uint64_t lost_bytes;   /* their true lengths */
};

/* Write everything, cut the file to its true size, and fill *out; blocks. Returns 0 or the errno that ended the
 * segment: then the file ends behind the last record that reached it, as *out says, unless even the cut failed. EALREADY if none
 * is open. The segment of a RING_MEMORY output stays readable. */
int ring_output_finish(struct ring_output *output, struct ring_segment *out);

/* What was accepted so far. */
void ring_output_get(const struct ring_output *output, struct ring_segment *out);
/* Why nothing more is written; 0 if all is well. */
int ring_output_error(const struct ring_output *output);
/* Bytes of the segment that a reader of its descriptor finds, whole records and maybe part of one. */
uint64_t ring_output_visible(const struct ring_output *output);
/* RING_CACHED, RING_DIRECT or RING_MEMORY: what the current segment turned out to be. */
int ring_output_kind(const struct ring_output *output);
/* The memfd of RING_MEMORY, which lives as long as the output; else what ring_output_begin() was given, or -1. */
int ring_output_fd(const struct ring_output *output);
