#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker_message.h"
#include "keyed_hash.h"
#include "transcode_writes.h"

#define GROUPS_FIRST 8
#define WRITES_FIRST 64

static int same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

static int same_group(const struct tc_write_group *a, const struct tc_write_group *b)
{
    const struct tc_group *x = &a->names, *y = &b->names;
    return a->hash == b->hash && same_bytes(x->path, x->path_len, y->path, y->path_len) &&
           same_bytes(x->stream, x->stream_len, y->stream, y->stream_len) &&
           same_bytes(x->writer, x->writer_len, y->writer, y->writer_len);
}

/* Room for one more group, and at least twice as many slots. */
static int grow_groups(struct tc_writes *writes)
{
    if (writes->group_count < writes->group_room)
        return 0;
    size_t room = writes->group_room == 0 ? GROUPS_FIRST : writes->group_room * 2;
    struct tc_write_group *groups = realloc(writes->groups, room * sizeof *groups);
    if (groups == NULL)
        return ENOMEM;
    writes->groups = groups;
    uint32_t *slots = calloc(room * 2, sizeof *slots);
    if (slots == NULL)
        return ENOMEM;
    free(writes->slots);
    writes->slots = slots;
    writes->group_room = room;
    for (size_t i = 0; i < writes->group_count; i++) {
        size_t slot = (size_t)groups[i].hash & (room * 2 - 1);
        while (slots[slot] != 0)
            slot = (slot + 1) & (room * 2 - 1);
        slots[slot] = (uint32_t)(i + 1);
    }
    return 0;
}

static int find_group(struct tc_writes *writes, struct tc_write_group *key, struct tc_write_group **out)
{
    const struct tc_group *names = &key->names;
    if (writes->group_count > 0) {
        *out = &writes->groups[writes->group_count - 1];
        key->hash = (*out)->hash;
        if (same_group(*out, key))
            return 0;
    }
    key->hash = kh_hash(writes->seed, names->path, names->path_len);
    key->hash = kh_hash(kh_hash(key->hash, names->stream, names->stream_len), names->writer, names->writer_len);
    int error = grow_groups(writes);
    if (error)
        return error;
    size_t mask = writes->group_room * 2 - 1, slot = (size_t)key->hash & mask;
    for (; writes->slots[slot] != 0; slot = (slot + 1) & mask) {
        *out = &writes->groups[writes->slots[slot] - 1];
        if (same_group(*out, key))
            return 0;
    }
    *out = &writes->groups[writes->group_count++];
    **out = *key;
    writes->slots[slot] = (uint32_t)writes->group_count;
    return 0;
}

static int add_write(struct tc_writes *writes, struct tc_write_group *key, const uint8_t *data, size_t len)
{
    struct tc_write_group *group;
    if (writes->write_count == writes->write_room) {
        size_t room = writes->write_room == 0 ? WRITES_FIRST : writes->write_room * 2;
        struct tc_write *grown = realloc(writes->writes, room * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        writes->writes = grown;
        writes->write_room = room;
    }
    int error = find_group(writes, key, &group);
    if (error)
        return error;
    writes->writes[writes->write_count++] = (struct tc_write){.data = data, .len = len};
    if (group->last != 0)
        writes->writes[group->last - 1].next = writes->write_count;
    else
        group->first = writes->write_count;
    group->last = writes->write_count;
    group->names.count++;
    group->names.bytes += len;
    return 0;
}

static int log_write(struct tc_writes *writes, struct bv_input *input, unsigned depth)
{
    struct bm_log_write write;
    int error = bm_log_write(input, depth, &write);
    if (error)
        return error;
    struct tc_write_group key = {.names = {.stream = write.stream.data, .stream_len = write.stream.len,
                                           .writer = write.writer.data, .writer_len = write.writer.len,
                                           .path = write.path.data, .path_len = write.path.len}};
    return add_write(writes, &key, write.serial.data, write.serial.len);
}

static int message(struct tc_writes *writes, struct bv_input *input, unsigned depth)
{
    uint64_t type;
    size_t rest, inner;
    int error = bm_head(input, depth, &type, &rest);
    if (error)
        return error;
    if (type == BM_LOG_WRITE) {
        error = log_write(writes, input, depth);
    } else if (type == BM_BATCH) {
        error = bv_vector(input, depth - 1, &inner);
        for (size_t i = 0; i < inner && !error; i++)
            error = message(writes, input, depth - 2);
    } else {
        writes->others++;
        error = bv_skip(input, depth - 1, 1);
    }
    return error ? error : bv_skip(input, depth - 1, rest);
}

int tc_writes_open(const uint8_t *payload, size_t len, struct tc_writes **out, uint64_t *error_offset)
{
    struct bv_input input = bv_input(payload, len, NULL);
    *out = NULL;
    *error_offset = 0;
    struct tc_writes *writes = calloc(1, sizeof *writes);
    if (writes == NULL)
        return ENOMEM;
    writes->payload = payload;
    writes->seed = kh_seed(writes);
    input.values = UINT64_MAX;
    int error = message(writes, &input, BV_DEPTH);
    if (!error && input.p != input.end)
        error = EBADMSG;
    if (error) {
        *error_offset = (uint64_t)(input.p - payload);
        tc_writes_close(writes);
        return error;
    }
    *out = writes;
    return 0;
}

void tc_writes_close(struct tc_writes *writes)
{
    if (writes == NULL)
        return;
    free(writes->writes);
    free(writes->groups);
    free(writes->slots);
    free(writes);
}

uint64_t tc_writes_others(const struct tc_writes *writes)
{
    return writes->others;
}

size_t tc_writes_group_count(const struct tc_writes *writes)
{
    return writes->group_count;
}

void tc_writes_group(const struct tc_writes *writes, size_t i, struct tc_group *out)
{
    *out = writes->groups[i].names;
}
