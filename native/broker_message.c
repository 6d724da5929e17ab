#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_message.h"

#define NETWORK_TIMESTAMP 1

int bm_head(struct bv_input *input, unsigned depth, uint64_t *type, size_t *rest)
{
    size_t count;
    uint64_t version;
    if (bv_vector(input, depth, &count) || count < 3 || bv_count(input, &version) || version != 1 ||
        bv_count(input, type))
        return EBADMSG;
    *rest = count - 3;
    return 0;
}

int bm_log_write(struct bv_input *input, unsigned depth, struct bm_log_write *out)
{
    size_t count;
    if (bv_vector(input, depth - 1, &count) || count < 4 ||
        bv_text(input, BV_ENUM, &out->stream.data, &out->stream.len) ||
        bv_text(input, BV_ENUM, &out->writer.data, &out->writer.len) ||
        bv_text(input, BV_STRING, &out->path.data, &out->path.len) ||
        bv_text(input, BV_STRING, &out->serial.data, &out->serial.len))
        return EBADMSG;
    return bv_skip(input, depth - 2, count - 4);
}

/* Pairs of a count and anything; that of the network timestamp has a timestamp. depth: that of the vector. */
static int metadata(struct bv_input *input, unsigned depth)
{
    size_t count, pair;
    uint64_t key;
    int error = bv_vector(input, depth, &count);
    for (; count > 0 && !error; count--) {
        if (bv_vector(input, depth - 1, &pair) || pair != 2 || bv_count(input, &key) || input->p == input->end ||
            (key == NETWORK_TIMESTAMP && *input->p != BV_TIMESTAMP))
            return EBADMSG;
        error = bv_skip(input, depth - 2, 1);
    }
    return error;
}

int bm_event(struct bv_input *input, unsigned depth, struct bm_text *name)
{
    size_t count, args;
    if (bv_vector(input, depth - 1, &count) || count < 2 || bv_text(input, BV_STRING, &name->data, &name->len) ||
        bv_vector(input, depth - 2, &args))
        return EBADMSG;
    int error = bv_skip(input, depth - 3, args);
    if (error || count == 2)
        return error;
    error = metadata(input, depth - 2);
    return error ? error : bv_skip(input, depth - 2, count - 3);
}

int bm_is_event(const uint8_t *data, size_t len, struct bv_hashes *hashes, struct bm_text *name)
{
    struct bv_input input = bv_input(data, len, hashes);
    uint64_t type;
    size_t rest;
    return bm_head(&input, BV_DEPTH, &type, &rest) == 0 && type == BM_EVENT &&
           bm_event(&input, BV_DEPTH, name) == 0 && bv_skip(&input, BV_DEPTH - 1, rest) == 0 &&
           input.p == input.end;
}

static int logs(struct bv_input *input, unsigned depth)
{
    struct bm_log_write write;
    uint64_t type;
    size_t rest, count;
    int error = bm_head(input, depth, &type, &rest);
    if (!error && type == BM_LOG_WRITE) {
        error = bm_log_write(input, depth, &write);
    } else if (!error && type == BM_BATCH) {
        error = bv_vector(input, depth - 1, &count);
        for (; !error && count > 0; count--)
            error = logs(input, depth - 2);
    } else {
        error = EBADMSG;
    }
    return error ? error : bv_skip(input, depth - 1, rest);
}

int bm_is_logs(const uint8_t *data, size_t len)
{
    struct bv_input input = bv_input(data, len, NULL);
    input.values = UINT64_MAX;
    return logs(&input, BV_DEPTH) == 0 && input.p == input.end;
}
