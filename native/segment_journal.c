#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "segment_index.h"

#include "segment_writer.h"

#define WRITE_BYTES 65536

static void put(struct bytes *bytes, const void *data, size_t len)
{
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

static int put_header(struct segidx_writer *writer)
{
    uint8_t page[SEGMENT_PAGE] = {0};
    struct segment_header header = {
        .magic = SEGMENT_MAGIC_JOURNAL,
        .version = SEGMENT_VERSION,
        .chunk_bytes = SEGMENT_CHUNK_BYTES,
        .linktype = writer->linktype,
        .community_seed = writer->community_seed,
        .flows = writer->max_flows,
        .secret = writer->secret,
    };
    header.checksum = segment_checksum(0, &header, offsetof(struct segment_header, checksum));
    memcpy(page, &header, sizeof header);
    int error = segment_reserve(&writer->scratch, sizeof page);
    if (error != 0)
        return error;
    put(&writer->scratch, page, sizeof page);
    writer->journal_bytes = sizeof page;
    return 0;
}

static int put_frame(struct segidx_writer *writer, uint32_t i)
{
    const struct written_chunk *written = segment_chunk_at(writer, i);
    size_t chunks = writer->chunks.len / sizeof *written;
    uint32_t flows = i + 1 < chunks         ? segment_chunk_at(writer, i + 1)->flows_before
                     : writer->has_current ? writer->current.flows_before
                                           : writer->counts.flows;
    struct segment_chunk chunk = written->chunk;
    struct journal_frame frame = {.new_flows = flows - written->flows_before, .list_bytes = written->list_bytes};
    const uint8_t *filter = NULL;
    if (chunk.filter < SEGMENT_LOST_FILTER) {
        filter = writer->filters.data + (size_t)chunk.filter * SEGMENT_FILTER_BYTES;
        chunk.filter = 0;
    }
    size_t filter_bytes = filter != NULL ? SEGMENT_FILTER_BYTES : 0;
    size_t bytes = sizeof chunk + (size_t)frame.new_flows * sizeof(struct flow_key) + frame.list_bytes + filter_bytes;
    size_t start = writer->scratch.len;
    int error = segment_reserve(&writer->scratch, sizeof frame + bytes);
    if (error != 0)
        return error;
    frame.bytes = (uint32_t)bytes;
    put(&writer->scratch, &frame, sizeof frame);
    put(&writer->scratch, &chunk, sizeof chunk);
    for (uint32_t number = written->flows_before; number < flows; number++)
        put(&writer->scratch, &writer->flows[number].key, sizeof(struct flow_key));
    put(&writer->scratch, writer->lists.data + written->list, written->list_bytes);
    put(&writer->scratch, filter, filter_bytes);
    frame.checksum = segment_frame_checksum(writer->journal_bytes, &frame, writer->scratch.data + start + sizeof frame);
    memcpy(writer->scratch.data + start, &frame, sizeof frame);
    writer->journal_bytes += sizeof frame + bytes;
    return 0;
}

static int is_within(const struct segidx_writer *writer, uint64_t pcap_bytes)
{
    return writer->journalled < writer->chunks.len / sizeof(struct written_chunk) &&
           segment_chunk_at(writer, writer->journalled)->chunk.end <= pcap_bytes;
}

void segment_journal_collect(struct segidx_writer *writer, uint64_t pcap_bytes)
{
    if (writer->journal_error == 0 && writer->journal_bytes == 0)
        writer->journal_error = put_header(writer);
    while (writer->journal_error == 0 && writer->scratch.len < WRITE_BYTES && is_within(writer, pcap_bytes))
        writer->journal_error = put_frame(writer, writer->journalled++);
}

void segment_journal_write(struct segidx_writer *writer, int fd)
{
    if (writer->journal_error == 0)
        writer->journal_error = segment_write(fd, writer->scratch.data, writer->scratch.len);
    writer->scratch.len = 0;
}

int segidx_journal(struct segidx_writer *writer, int fd, uint64_t pcap_bytes)
{
    do {
        segment_journal_collect(writer, pcap_bytes);
        segment_journal_write(writer, fd);
    } while (writer->journal_error == 0 && is_within(writer, pcap_bytes));
    return writer->journal_error;
}
