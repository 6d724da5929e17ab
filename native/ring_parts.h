/* What the files of the ring know of each other; not for Python. Include packet_view.h, ring_output.h, ring.h before. */
#ifndef RING_PARTS_H
#define RING_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ring_tap.h"

#define RING_BLOCK (1U << 20)
#define CAPLEN_MAX 262144 /* MAXIMUM_SNAPLEN of libpcap: its readers refuse longer records */
#define PCAP_FILE_HEADER 24
#define PCAP_RECORD_HEADER 16
#define RECORD_MAX (PCAP_RECORD_HEADER + CAPLEN_MAX)
#define TAG_BYTES 4
#define ADDRESSES_BYTES 12
#define SECOND_NS UINT64_C(1000000000)

struct pcap_record {
    uint32_t seconds;
    uint32_t fraction;
    uint32_t caplen;
    uint32_t wire_len;
};
_Static_assert(sizeof(struct pcap_record) == PCAP_RECORD_HEADER, "pcap-savefile(5)");

/* Where the walk through a block stands. */
struct ring_cursor {
    const uint8_t *block;
    uint32_t at;
    uint32_t left; /* packets */
};

/* Packets of a block, those before next are done. */
struct ring_batch {
    size_t n;
    size_t next;
    int is_judged;
    struct packet_view packets[RING_BATCH];
    uint32_t tags[RING_BATCH]; /* TPID << 16 | TCI; 0: none */
    uint8_t keep[RING_BATCH];
};

/* Packets that are in the segment and of which the tap does not know yet. */
struct ring_news {
    size_t n;
    struct packet_view packets[RING_BATCH];
    struct ring_place places[RING_BATCH];
};

struct ring {
    int fd;
    int wake_fd;
    uint8_t *map;
    uint32_t blocks;
    uint32_t index; /* of the block that is read or comes next */
    int is_in_block;
    struct ring_cursor cursor;
    struct ring_batch batch;
    struct ring_news news;
    uint32_t linktype;
    uint32_t snaplen;
    int32_t fanout;
    int has_hardware_time;
    int is_gone; /* its interface */
    int error;
    const struct ring_tap *tap;
    struct ring_counts counts;
    uint8_t *program;
    size_t program_bytes;
};

/* The next packets of a block, RING_BATCH at most; 0 at its end. *error is EBADMSG if the rest of it makes no sense. */
size_t ring_gather(struct ring_cursor *cursor, size_t most, struct ring_batch *batch, struct ring_counts *counts,
                   int *error);

struct direct_writer;

struct ring_output {
    /* hot */
    uint8_t *at;
    uint8_t *limit; /* a record that would end behind it needs output_advance() before */
    uint8_t *start;
    uint64_t base; /* offset of start in the file */
    struct ring_segment segment;
    uint64_t max_bytes;
    uint64_t until_ns;
    uint64_t every_ns;
    /* cold */
    int is_open;
    int wanted_kind;
    int kind;
    int fd;
    int error; /* of the cached writes */
    size_t buffer_bytes;
    uint8_t *cached; /* buffer of RING_CACHED */
    uint8_t *memory; /* map of RING_MEMORY */
    /* The segment as it was when the buffer before this one, and the one before that, were full: behind a whole record.
     * The second is at or before base; the first as well, but for a rest of less than DIRECT_ALIGN that moved along. */
    struct ring_segment marks[2];
    struct direct_writer *direct;
    _Atomic uint64_t visible;
};

/* Make room for one more record, of whatever length. 0, EAGAIN: the disk is behind, EFBIG: the segment is full, or the
 * errno of the failed write. */
int output_advance(struct ring_output *output);
/* Nothing more is ready: show a reader what there is, if that is cheap. 0 or the errno, also of writes under way. */
int output_rest(struct ring_output *output);

/* The common case, without a tap: packets of the block into the segment as they are, up to the first one that is
 * tagged or cut, or for which a bound of the segment or of the buffer comes too near. */
void ring_copy(struct ring *ring, struct ring_output *output);

/* The helpers of files. */
int output_pwrite(int fd, const uint8_t *data, size_t len, uint64_t offset, size_t *done);
/* Of a file that is good up to good: the last boundary between records, counted on from one of the marks. */
void output_walk(int fd, uint64_t good, const struct ring_segment marks[2], struct ring_segment *out);
int output_wants_direct(int fd);
int output_has_disk(int fd);

/* The thread of RING_DIRECT and its buffers. Only direct_submit(), direct_wait() and direct_begin() wait. */
#define DIRECT_ALIGN 4096

int direct_open(size_t buffer_bytes, _Atomic uint64_t *visible, struct direct_writer **out);
void direct_close(struct direct_writer *writer);
/* Returns EINVAL or another errno if the file system refuses; else *buffer is where the segment begins. */
int direct_begin(struct direct_writer *writer, int fd, uint8_t **buffer);
/* Hand over the first len bytes of the current buffer, a multiple of DIRECT_ALIGN; *next is the next one. EAGAIN: there
 * is none yet, and nothing was handed over. Else the errno of an earlier write. */
int direct_submit(struct direct_writer *writer, size_t len, uint64_t offset, const struct ring_segment marks[2],
                  uint8_t **next);
/* Wait for all writes. 0, or the errno of the one that failed, and how far the file is good with its marks. */
int direct_wait(struct direct_writer *writer, uint64_t *good, struct ring_segment marks[2]);
int direct_error(struct direct_writer *writer);
void direct_end(struct direct_writer *writer);

#endif
