/* The flows of a ring's packets, their cutoff, and the index of the segment they go into: what looks at every packet
 * that a ring sees.
 *
 * One for each ring, with a flow table of its own and the writer of the segment that is open. A lock is held for a
 * batch of RING_BATCH packets or 64 KiB of journal at most, never during a system call; so every function here but
 * those of its life may be called by any thread while the ring runs. The table and the current writer are used through
 * it alone then.
 */

struct ring_index;

/* The table outlives it. Returns 0, EINVAL if there is none, or ENOMEM. */
int ring_index_open(struct flow_table *table, struct ring_index **out);
/* When no ring has it any more. */
void ring_index_close(struct ring_index *index);

/* The ring's packets come here from its next run on; index NULL: nowhere. Between two runs, and not while a batch is
 * half done, which is EBUSY. */
int ring_index_attach(struct ring_index *index, struct ring *ring);

/* What is stored from now on goes into a segment whose writer has begun it; NULL: flows are only counted. Between two
 * runs of the ring. The writer of before is the caller's again. */
void ring_index_begin(struct ring_index *index, struct segidx_writer *writer);

/* segidx_journal() of a writer, current or not, while the ring may run. One thread at a time for a writer. Blocks. */
int ring_index_journal(struct ring_index *index, struct segidx_writer *writer, int fd, uint64_t pcap_bytes);

/* flow_table_set_cutoff(), _lift(), _unlift(), _get() and _get_counts(). With UINT64_MAX as cutoff packets are tracked
 * after they were copied, which is faster. */
void ring_index_set_cutoff(struct ring_index *index, uint64_t cutoff);
int ring_index_lift(struct ring_index *index, const struct flow_key *key, uint64_t ts_ns);
int ring_index_unlift(struct ring_index *index, const struct flow_key *key);
int ring_index_get(struct ring_index *index, const struct flow_key *key, struct flow_totals *out);
void ring_index_get_counts(struct ring_index *index, struct flow_counts *out);
