#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "flow_query.h"
#include "segment_index.h"
#include "segment_lookup.h"

#include "segment_reader.h"

#define FRAME_BYTES_MAX \
    (sizeof(struct segment_chunk) + SEGMENT_CHUNK_RECORDS_MAX * (sizeof(struct flow_key) + 5) + SEGMENT_FILTER_BYTES)

/* A frame that has been checked, and its parts. */
struct frame {
    struct segment_chunk chunk;
    const uint8_t *keys;
    uint32_t new_flows;
    const uint8_t *list;
    uint32_t list_bytes;
    const uint8_t *filter; /* NULL: none */
};

struct scan {
    struct segidx_reader *reader;
    const struct flow_query *query;
    uint8_t *body;
    uint64_t *wanted; /* a bit for each flow */
    uint32_t flows;
    uint64_t offset;
};

/* ENODATA where the journal ends, be it torn or not. */
static int read_frame(struct scan *scan, struct frame *frame)
{
    struct journal_frame header;
    int error = segment_pread(scan->reader->fd, &header, sizeof header, scan->offset);
    if (error != 0)
        return error;
    size_t keys = (size_t)header.new_flows * sizeof(struct flow_key);
    if (header.bytes > FRAME_BYTES_MAX || header.bytes < sizeof frame->chunk ||
        keys > header.bytes - sizeof frame->chunk || header.list_bytes > header.bytes - sizeof frame->chunk - keys)
        return ENODATA;
    size_t filter_bytes = header.bytes - sizeof frame->chunk - keys - header.list_bytes;
    error = segment_pread(scan->reader->fd, scan->body, header.bytes, scan->offset + sizeof header);
    if (error != 0)
        return error;
    if (segment_frame_checksum(scan->offset, &header, scan->body) != header.checksum)
        return ENODATA;
    memcpy(&frame->chunk, scan->body, sizeof frame->chunk);
    if (filter_bytes != (frame->chunk.filter < SEGMENT_LOST_FILTER ? SEGMENT_FILTER_BYTES : 0) ||
        header.new_flows > scan->reader->header.flows - scan->flows)
        return ENODATA;
    frame->keys = scan->body + sizeof frame->chunk;
    frame->new_flows = header.new_flows;
    frame->list = frame->keys + keys;
    frame->list_bytes = header.list_bytes;
    frame->filter = filter_bytes != 0 ? frame->list + header.list_bytes : NULL;
    scan->offset += sizeof header + header.bytes;
    return 0;
}

static void note_flows(struct scan *scan, const struct frame *frame)
{
    for (uint32_t i = 0; i < frame->new_flows; i++, scan->flows++) {
        struct flow_key key;
        memcpy(&key, frame->keys + i * sizeof key, sizeof key);
        if (flow_query_wants(scan->query, &key))
            scan->wanted[scan->flows / 64] |= UINT64_C(1) << scan->flows % 64;
    }
}

static int has_wanted(const struct scan *scan, const struct frame *frame)
{
    uint32_t number = 0, gap = 0;
    for (size_t at = 0, n; at < frame->list_bytes; at += n) {
        n = varint_get(frame->list + at, frame->list_bytes - at, &gap);
        number = signed_gap_end(number, gap);
        if (n == 0 || number >= scan->flows)
            return 1; /* no list of ours: read the chunk to be sure */
        if (scan->wanted[number / 64] >> number % 64 & 1)
            return 1;
    }
    return frame->chunk.filter != SEGMENT_NO_FILTER &&
           segment_filter_wants(&scan->reader->header.secret, scan->query, frame->filter);
}

static int scan_frames(struct scan *scan, struct extents *extents, uint64_t *end)
{
    int wants_all = segment_wants_all(scan->query);
    struct frame frame;
    int error;
    while ((error = read_frame(scan, &frame)) == 0) {
        if (frame.chunk.offset < *end || frame.chunk.end < frame.chunk.offset)
            return EBADMSG;
        note_flows(scan, &frame);
        error = extents_add(extents, *end, frame.chunk.offset); /* a hole is not indexed */
        *end = frame.chunk.end;
        if (error == 0 && segment_chunk_in_time(&frame.chunk, scan->query) && (wants_all || has_wanted(scan, &frame)))
            error = extents_add(extents, frame.chunk.offset, frame.chunk.end);
        if (error != 0)
            return error;
    }
    return error == ENODATA ? 0 : error;
}

int segment_lookup_journal(struct segidx_reader *reader, const struct flow_query *query, struct extents *extents,
                           uint64_t *end)
{
    struct scan scan = {.reader = reader, .query = query, .offset = SEGMENT_PAGE};
    int error = ENOMEM;
    scan.body = malloc(FRAME_BYTES_MAX);
    scan.wanted = calloc((size_t)reader->header.flows / 64 + 1, sizeof scan.wanted[0]);
    if (scan.body != NULL && scan.wanted != NULL)
        error = scan_frames(&scan, extents, end);
    free(scan.body);
    free(scan.wanted);
    return error;
}
