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
#include "pcap_extract.h"

#include "packet_match.h"
#include "pcap_reader.h"

#define WINDOW_BYTES (512U << 10)
#define CALL_BYTES (4U << 20)
#define CAPACITY_MIN (512U << 10)
#define BATCH 64
#define SECOND_NS UINT64_C(1000000000)

struct pcap_extract {
    struct pcap_reader reader;
    struct packet_match match;
    struct pcap_extract_counts counts;
    size_t next; /* extent */
    size_t n;
    struct segidx_extent extents[];
};

int pcap_extract_open(int fd, const struct flow_query *query, const struct segidx_extent *extents, size_t n,
                      struct pcap_extract **out)
{
    *out = NULL;
    struct pcap_extract *extract = calloc(1, sizeof *extract + n * sizeof extract->extents[0]);
    if (extract == NULL)
        return ENOMEM;
    extract->n = n;
    if (n > 0)
        memcpy(extract->extents, extents, n * sizeof extents[0]);
    int error = packet_match_open(&extract->match, query);
    if (error == 0)
        error = pcap_reader_open(&extract->reader, fd, WINDOW_BYTES);
    if (error != 0) {
        pcap_extract_close(extract);
        return error;
    }
    extract->counts.linktype = extract->reader.linktype;
    extract->counts.snaplen = extract->reader.snaplen;
    pcap_reader_seek(&extract->reader, 0, 0);
    *out = extract;
    return 0;
}

void pcap_extract_close(struct pcap_extract *extract)
{
    if (extract == NULL)
        return;
    pcap_reader_close(&extract->reader);
    packet_match_close(&extract->match);
    free(extract);
}

static size_t put_record(struct pcap_extract *extract, const struct pcap_record *record, uint8_t *out)
{
    struct pcap_extract_counts *counts = &extract->counts;
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
    return sizeof header + record->caplen;
}

int pcap_extract_read(struct pcap_extract *extract, uint8_t *out, size_t capacity, size_t *used)
{
    struct pcap_reader *reader = &extract->reader;
    uint64_t limit = reader->bytes_read + CALL_BYTES;
    struct pcap_record record;
    *used = 0;
    if (capacity < CAPACITY_MIN)
        return EINVAL;
    while (capacity - *used >= PCAP_RECORD_MAX && reader->bytes_read < limit) {
        int error = pcap_reader_next(reader, &record);
        if (error == 0) {
            extract->counts.read_packets++;
            if (packet_match_wants(&extract->match, reader->linktype, &record))
                *used += put_record(extract, &record, out + *used);
        } else if (error == ENODATA && extract->next < extract->n) {
            const struct segidx_extent *extent = &extract->extents[extract->next++];
            pcap_reader_seek(reader, extent->offset, extent->offset + extent->bytes);
        } else {
            if (error == EBADMSG)
                pcap_reader_seek(reader, 0, 0);
            extract->counts.read_bytes = reader->bytes_read;
            return error == ENODATA ? 0 : error;
        }
    }
    extract->counts.read_bytes = reader->bytes_read;
    return EAGAIN;
}

void pcap_extract_get_counts(const struct pcap_extract *extract, struct pcap_extract_counts *out)
{
    *out = extract->counts;
}

/* As many records as the window holds whole, for their data must stay. */
static int next_batch(struct pcap_reader *reader, struct pcap_record *records, size_t *n)
{
    int error = pcap_reader_next(reader, &records[0]);
    for (*n = 0; error == 0;) {
        if (++*n == BATCH)
            return 0;
        error = pcap_reader_next_in_window(reader, &records[*n]);
    }
    return *n > 0 ? 0 : error;
}

static int index_records(struct segidx_writer *writer, struct flow_table *table, struct pcap_reader *reader)
{
    struct pcap_record records[BATCH];
    struct packet_view views[BATCH];
    struct flow_hit hits[BATCH];
    size_t n;
    int error;
    while ((error = next_batch(reader, records, &n)) == 0) {
        for (size_t i = 0; i < n; i++)
            views[i] = (struct packet_view){
                .data = records[i].data,
                .ts_ns = records[i].ts_ns,
                .caplen = records[i].caplen,
                .wire_len = records[i].wire_len,
            };
        flow_table_track(table, reader->linktype, views, n, hits);
        segidx_prefetch(writer, table, hits, n);
        for (size_t i = 0; i < n; i++)
            segidx_post(writer, table, &hits[i], records[i].ts_ns, records[i].wire_len, records[i].offset,
                        records[i].offset + PCAP_RECORD_BYTES + records[i].caplen);
    }
    return error == ENODATA || error == EBADMSG ? 0 : error;
}

int segidx_index_pcap(struct segidx_writer *writer, struct flow_table *table, uint16_t community_seed, int pcap_fd,
                      int out_fd, struct segidx_counts *counts)
{
    struct pcap_reader reader;
    int error = pcap_reader_open(&reader, pcap_fd, WINDOW_BYTES);
    if (error == 0) {
        segidx_begin(writer, reader.linktype, community_seed);
        error = index_records(writer, table, &reader);
        segidx_get_counts(writer, counts);
    }
    pcap_reader_close(&reader);
    if (error == 0 && out_fd >= 0)
        error = segidx_finish(writer, out_fd, UINT64_MAX);
    return error;
}
