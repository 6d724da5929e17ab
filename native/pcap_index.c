#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "segment_index.h"
#include "pcap_index.h"

#include "pcap_reader.h"

#define WINDOW_BYTES (512U << 10)
#define BATCH 64

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
