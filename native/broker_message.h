/* Zeek's messages in Broker's values. Internal to the C module, not for Python.
 *
 * A message is a vector: count 1, count type, content; what comes behind is read over, as Zeek does.
 */
#ifndef BROKER_MESSAGE_H
#define BROKER_MESSAGE_H

#include "broker_value.h"

enum bm_type { BM_EVENT = 1, BM_LOG_CREATE, BM_LOG_WRITE, BM_IDENTIFIER_UPDATE, BM_BATCH };

struct bm_text {
    const uint8_t *data;
    size_t len;
};

struct bm_log_write {
    struct bm_text stream;
    struct bm_text writer;
    struct bm_text path;
    struct bm_text serial; /* the record */
};

/* All of these return 0, EBADMSG or ENOMEM, as bv_skip() does. depth is that of the message in all of them: containers
 * that may be open inside each other from its beginning on. Texts point into the input. */

/* A message up to its content, which the caller must take or skip; rest: elements that come behind it, to be skipped
 * with depth - 1. EBADMSG, too, if it is of another version. */
int bm_head(struct bv_input *input, unsigned depth, uint64_t *type, size_t *rest);
/* The content of a log write. */
int bm_log_write(struct bv_input *input, unsigned depth, struct bm_log_write *out);
/* The content of an event. */
int bm_event(struct bv_input *input, unsigned depth, struct bm_text *name);

/* Whether data[len] is one event message and nothing else. */
int bm_is_event(const uint8_t *data, size_t len, struct bv_hashes *hashes, struct bm_text *name);
/* Whether it is one log write, or a batch of log writes and of such batches. Sets and tables are not checked. */
int bm_is_logs(const uint8_t *data, size_t len);

#endif
