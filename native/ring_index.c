#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"
#include "segment_index.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_index.h"

#include "ring_tap.h"
#include "segment_writer.h"

struct ring_index {
    struct ring_tap tap;
    struct flow_table *table;
    struct segidx_writer *writer;
    pthread_mutex_t lock; /* of the table and the writer */
    struct flow_hit hits[RING_BATCH];
};

static void track(struct ring_index *index, uint32_t linktype, const struct packet_view *packets, size_t n)
{
    flow_table_track(index->table, linktype, packets, n, index->hits);
    if (index->writer != NULL)
        segidx_prefetch(index->writer, index->table, index->hits, n);
}

static void judge(void *context, uint32_t linktype, const struct packet_view *packets, size_t n, uint8_t *keep)
{
    struct ring_index *index = context;
    pthread_mutex_lock(&index->lock);
    track(index, linktype, packets, n);
    pthread_mutex_unlock(&index->lock);
    for (size_t i = 0; i < n; i++)
        keep[i] = index->hits[i].verdict == FLOW_KEEP;
}

/* Between judging and this, a flow that is lifted may have taken the entry of another; its number is then wrong there,
 * which the writer notices. */
static void stored(void *context, uint32_t linktype, const struct packet_view *packets, const struct ring_place *places,
                   size_t n)
{
    struct ring_index *index = context;
    int is_judged = places[0].index != RING_UNJUDGED;
    pthread_mutex_lock(&index->lock);
    if (!is_judged)
        track(index, linktype, packets, n);
    for (size_t i = 0; i < n && index->writer != NULL; i++) {
        const struct flow_hit *hit = &index->hits[is_judged ? places[i].index : i];
        segidx_post(index->writer, index->table, hit, packets[i].ts_ns, packets[i].wire_len, places[i].offset,
                    places[i].end);
    }
    pthread_mutex_unlock(&index->lock);
}

int ring_index_open(struct flow_table *table, struct ring_index **out)
{
    pthread_mutexattr_t kind;
    *out = NULL;
    if (table == NULL)
        return EINVAL;
    struct ring_index *index = calloc(1, sizeof *index);
    if (index == NULL)
        return ENOMEM;
    index->table = table;
    index->tap.context = index;
    index->tap.is_judging = flow_table_cutoff(table) != UINT64_MAX;
    index->tap.judge = judge;
    index->tap.stored = stored;
    /* Held for a microsecond: whoever waits gets it sooner by a short look than by sleep, in which it is taken again. */
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&index->lock, &kind);
    pthread_mutexattr_destroy(&kind);
    *out = index;
    return 0;
}

void ring_index_close(struct ring_index *index)
{
    pthread_mutex_destroy(&index->lock);
    free(index);
}

int ring_index_attach(struct ring_index *index, struct ring *ring)
{
    return ring_set_tap(ring, index != NULL ? &index->tap : NULL);
}

void ring_index_begin(struct ring_index *index, struct segidx_writer *writer)
{
    pthread_mutex_lock(&index->lock);
    index->writer = writer;
    pthread_mutex_unlock(&index->lock);
}

int ring_index_journal(struct ring_index *index, struct segidx_writer *writer, int fd, uint64_t pcap_bytes)
{
    for (int is_more = 1; is_more;) {
        pthread_mutex_lock(&index->lock);
        segment_journal_collect(writer, pcap_bytes);
        pthread_mutex_unlock(&index->lock);
        is_more = writer->scratch.len > 0;
        segment_journal_write(writer, fd);
    }
    return writer->journal_error;
}

void ring_index_set_cutoff(struct ring_index *index, uint64_t cutoff)
{
    pthread_mutex_lock(&index->lock);
    flow_table_set_cutoff(index->table, cutoff);
    pthread_mutex_unlock(&index->lock);
    atomic_store_explicit(&index->tap.is_judging, cutoff != UINT64_MAX, memory_order_relaxed);
}

int ring_index_lift(struct ring_index *index, const struct flow_key *key, uint64_t ts_ns)
{
    pthread_mutex_lock(&index->lock);
    int error = flow_table_lift(index->table, key, ts_ns);
    pthread_mutex_unlock(&index->lock);
    return error;
}

int ring_index_unlift(struct ring_index *index, const struct flow_key *key)
{
    pthread_mutex_lock(&index->lock);
    int error = flow_table_unlift(index->table, key);
    pthread_mutex_unlock(&index->lock);
    return error;
}

int ring_index_get(struct ring_index *index, const struct flow_key *key, struct flow_totals *out)
{
    pthread_mutex_lock(&index->lock);
    int error = flow_table_get(index->table, key, out);
    pthread_mutex_unlock(&index->lock);
    return error;
}

void ring_index_get_counts(struct ring_index *index, struct flow_counts *out)
{
    pthread_mutex_lock(&index->lock);
    flow_table_get_counts(index->table, out);
    pthread_mutex_unlock(&index->lock);
}
