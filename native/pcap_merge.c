#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "flow_query.h"
#include "segment_index.h"
#include "segment_lookup.h"
#include "pcap_merge.h"

#include "packet_match.h"
#include "pcap_reader.h"

#define WINDOW_BYTES (512U << 10)
#define CALL_BYTES (4U << 20)
#define CAPACITY_MIN (512U << 10)
#define SECOND_NS UINT64_C(1000000000)
#define TO_THE_END ((uint64_t)INT64_MAX)

struct input {
    struct pcap_reader reader;
    struct pcap_record head; /* the next record of it, if it is in the heap */
    struct pcap_merge_ended ended;
    size_t next; /* extent */
    size_t n;
    struct segidx_extent extents[];
};

/* Every input is either in the heap, by the time of its head, or among those whose head is to be read, or ended. */
struct pcap_merge {
    struct packet_match match;
    struct pcap_merge_counts counts;
    uint64_t max_bytes;
    uint64_t budget; /* bytes to read in this call */
    struct input *inputs[PCAP_MERGE_INPUTS];
    uint16_t heap[PCAP_MERGE_INPUTS];
    uint16_t headless[PCAP_MERGE_INPUTS];
    uint16_t ended[PCAP_MERGE_INPUTS];
    size_t in_heap;
    size_t are_headless;
    size_t have_ended;
};

int pcap_merge_open(const struct flow_query *query, const uint8_t *filter, size_t filter_bytes, uint64_t max_bytes,
                    struct pcap_merge **out)
{
    *out = NULL;
    struct pcap_merge *merge = calloc(1, sizeof *merge);
    if (merge == NULL)
        return ENOMEM;
    merge->max_bytes = max_bytes;
    int error = packet_match_open(&merge->match, query);
    if (error == 0 && filter != NULL)
        error = filter_run_open(&merge->match.filter, filter, filter_bytes);
    if (error != 0) {
        pcap_merge_close(merge);
        return error;
    }
    *out = merge;
    return 0;
}

static void free_input(struct pcap_merge *merge, size_t number)
{
    pcap_reader_close(&merge->inputs[number]->reader);
    free(merge->inputs[number]);
    merge->inputs[number] = NULL;
}

void pcap_merge_close(struct pcap_merge *merge)
{
    if (merge == NULL)
        return;
    for (size_t i = 0; i < PCAP_MERGE_INPUTS; i++)
        if (merge->inputs[i] != NULL)
            free_input(merge, i);
    packet_match_close(&merge->match);
    free(merge);
}

int pcap_merge_add(struct pcap_merge *merge, int fd, const struct segidx_extent *extents, size_t n, uint32_t *number,
                   uint32_t *linktype)
{
    size_t i = 0;
    while (i < PCAP_MERGE_INPUTS && merge->inputs[i] != NULL)
        i++;
    if (i == PCAP_MERGE_INPUTS)
        return EMFILE;
    struct input *input = calloc(1, sizeof *input + n * sizeof input->extents[0]);
    if (input == NULL)
        return ENOMEM;
    merge->inputs[i] = input;
    int error = pcap_reader_open(&input->reader, fd, WINDOW_BYTES);
    merge->counts.read_bytes += input->reader.bytes_read;
    if (error != 0) {
        free_input(merge, i);
        return error;
    }
    /* Where only pieces are wanted, what the kernel would read ahead is wasted; and what is read once shall not push
     * out what others need. Both are advice: nothing depends on their success. */
    int is_whole = n == 1 && extents[0].bytes >= TO_THE_END - extents[0].offset;
    (void)posix_fadvise(fd, 0, 0, is_whole ? POSIX_FADV_SEQUENTIAL : POSIX_FADV_RANDOM);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_NOREUSE);
    pcap_reader_seek(&input->reader, 0, 0);
    input->n = n;
    if (n > 0)
        memcpy(input->extents, extents, n * sizeof extents[0]);
    input->ended.number = (uint32_t)i;
    merge->headless[merge->are_headless++] = (uint16_t)i;
    *number = (uint32_t)i;
    *linktype = input->reader.linktype;
    return 0;
}

/* ── the heap ── */

static int comes_before(const struct pcap_merge *merge, uint16_t a, uint16_t b)
{
    uint64_t time_a = merge->inputs[a]->head.ts_ns, time_b = merge->inputs[b]->head.ts_ns;
    return time_a != time_b ? time_a < time_b : a < b;
}

static void sift_down(struct pcap_merge *merge)
{
    uint16_t moved = merge->heap[0];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < merge->in_heap; at = child) {
        if (child + 1 < merge->in_heap && comes_before(merge, merge->heap[child + 1], merge->heap[child]))
            child++;
        if (!comes_before(merge, merge->heap[child], moved))
            break;
        merge->heap[at] = merge->heap[child];
    }
    merge->heap[at] = moved;
}

static void heap_push(struct pcap_merge *merge, uint16_t number)
{
    size_t at = merge->in_heap++;
    for (; at > 0 && comes_before(merge, number, merge->heap[(at - 1) / 2]); at = (at - 1) / 2)
        merge->heap[at] = merge->heap[(at - 1) / 2];
    merge->heap[at] = number;
}

static void heap_pop(struct pcap_merge *merge)
{
    merge->heap[0] = merge->heap[--merge->in_heap];
    if (merge->in_heap > 0)
        sift_down(merge);
}

/* ── records ── */

static int is_nothing(const struct pcap_record *record)
{
    return record->ts_ns == 0 && record->caplen == 0 && record->wire_len == 0;
}

static void note_end_of_extent(struct input *input)
{
    const struct pcap_reader *reader = &input->reader;
    int is_short = reader->end < TO_THE_END && reader->position < reader->end;
    if (is_short || (reader->position < reader->end && reader->start + reader->len > reader->position))
        input->ended.torn++;
}

/* Find the next record that is in time: 0, ENODATA at the end of the input, EAGAIN if enough was read for now. */
static int advance(struct pcap_merge *merge, struct input *input)
{
    struct pcap_reader *reader = &input->reader;
    const struct flow_query *query = &merge->match.query;
    while (merge->budget > 0) {
        uint64_t before = reader->bytes_read;
        int error = pcap_reader_next(reader, &input->head);
        uint64_t got = reader->bytes_read - before;
        merge->counts.read_bytes += got;
        merge->budget -= got < merge->budget ? got : merge->budget;
        /* A file that grows ends in zeros where room was made for it: no packet, and no damage. */
        if (error == 0 && is_nothing(&input->head)) {
            reader->position -= PCAP_RECORD_BYTES;
            error = ENODATA;
        }
        if (error == 0) {
            merge->counts.read_packets++;
            if (input->head.ts_ns >= query->from_ns && input->head.ts_ns <= query->to_ns)
                return 0;
            continue;
        }
        if (error == EBADMSG)
            input->ended.damaged++;
        else if (error != ENODATA) {
            input->ended.error = error;
            return ENODATA;
        } else
            note_end_of_extent(input);
        if (input->next == input->n)
            return ENODATA;
        const struct segidx_extent *extent = &input->extents[input->next++];
        uint64_t most = TO_THE_END - extent->offset;
        pcap_reader_seek(reader, extent->offset, extent->offset + (extent->bytes < most ? extent->bytes : most));
    }
    return EAGAIN;
}

static void end_input(struct pcap_merge *merge, uint16_t number)
{
    pcap_reader_close(&merge->inputs[number]->reader);
    merge->ended[merge->have_ended++] = number;
}

static int read_heads(struct pcap_merge *merge)
{
    while (merge->are_headless > 0) {
        uint16_t number = merge->headless[merge->are_headless - 1];
        int error = advance(merge, merge->inputs[number]);
        if (error == EAGAIN)
            return EAGAIN;
        merge->are_headless--;
        if (error == 0)
            heap_push(merge, number);
        else
            end_input(merge, number);
    }
    return 0;
}

static size_t put_record(struct pcap_merge *merge, const struct pcap_record *record, uint8_t *out)
{
    struct pcap_merge_counts *counts = &merge->counts;
    uint32_t header[4] = {(uint32_t)(record->ts_ns / SECOND_NS), (uint32_t)(record->ts_ns % SECOND_NS), record->caplen,
                          record->wire_len};
    memcpy(out, header, sizeof header);
    memcpy(out + sizeof header, record->data, record->caplen);
    if (counts->packets++ == 0)
        counts->first_ns = counts->last_ns = record->ts_ns;
    if (record->ts_ns < counts->first_ns)
        counts->first_ns = record->ts_ns;
    if (record->ts_ns > counts->last_ns)
        counts->last_ns = record->ts_ns;
    counts->bytes += sizeof header + record->caplen;
    return sizeof header + record->caplen;
}

/* The earliest input goes on with its next record. */
static void step(struct pcap_merge *merge)
{
    uint16_t number = merge->heap[0];
    int error = advance(merge, merge->inputs[number]);
    if (error == 0) {
        sift_down(merge);
        return;
    }
    heap_pop(merge);
    if (error == EAGAIN)
        merge->headless[merge->are_headless++] = number;
    else
        end_input(merge, number);
}

static int merge_records(struct pcap_merge *merge, uint64_t until_ns, uint8_t *out, size_t capacity, size_t *used)
{
    for (;;) {
        if (read_heads(merge) != 0)
            return EAGAIN;
        if (merge->in_heap == 0)
            return 0;
        struct input *input = merge->inputs[merge->heap[0]];
        if (input->head.ts_ns >= until_ns)
            return 0;
        if (capacity - *used < PCAP_RECORD_MAX)
            return EAGAIN;
        if (packet_match_wants(&merge->match, input->reader.linktype, &input->head)) {
            if (merge->max_bytes - merge->counts.bytes < PCAP_RECORD_BYTES + input->head.caplen)
                return EFBIG;
            *used += put_record(merge, &input->head, out + *used);
        }
        step(merge);
    }
}

int pcap_merge_read(struct pcap_merge *merge, uint64_t until_ns, uint8_t *out, size_t capacity, size_t *used)
{
    *used = 0;
    if (capacity < CAPACITY_MIN)
        return EINVAL;
    merge->budget = CALL_BYTES;
    long priority = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
    if (priority >= 0)
        (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
    int error = merge_records(merge, until_ns, out, capacity, used);
    if (priority >= 0)
        (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority);
    return error;
}

int pcap_merge_take_ended(struct pcap_merge *merge, struct pcap_merge_ended *out)
{
    if (merge->have_ended == 0)
        return ENOENT;
    size_t number = merge->ended[--merge->have_ended];
    *out = merge->inputs[number]->ended;
    free_input(merge, number);
    return 0;
}

void pcap_merge_get_counts(const struct pcap_merge *merge, struct pcap_merge_counts *out)
{
    *out = merge->counts;
}
