#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transcode_schema.h"
#include "transcode_writes.h"

#define GROUPS_FIRST 8
#define WRITES_FIRST 64

/* Tags of Broker's data values. */
enum tag {
    TAG_NONE,
    TAG_BOOLEAN,
    TAG_COUNT,
    TAG_INTEGER,
    TAG_REAL,
    TAG_STRING,
    TAG_ADDRESS,
    TAG_SUBNET,
    TAG_PORT,
    TAG_TIMESTAMP,
    TAG_TIMESPAN,
    TAG_ENUM,
    TAG_SET,
    TAG_TABLE,
    TAG_VECTOR,
    TAGS,
};

/* Bytes behind the tag, of those that have a fixed size. */
static const uint8_t SIZES[TAGS] = {
    [TAG_BOOLEAN] = 1, [TAG_COUNT] = 8, [TAG_INTEGER] = 8,   [TAG_REAL] = 8,     [TAG_ADDRESS] = 16,
    [TAG_SUBNET] = 17, [TAG_PORT] = 3,  [TAG_TIMESTAMP] = 8, [TAG_TIMESPAN] = 8,
};

enum message { MESSAGE_LOG_WRITE = 3, MESSAGE_BATCH = 5 };

static size_t left(const struct tc_input *input)
{
    return (size_t)(input->end - input->p);
}

/* Unsigned LEB128 of 32 bits. */
static int take_size(struct tc_input *input, size_t *out)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 5 && i < left(input); i++) {
        value |= (uint64_t)(input->p[i] & 0x7f) << i * 7;
        if (input->p[i] < 0x80) {
            if (value > UINT32_MAX)
                return EBADMSG;
            input->p += i + 1;
            *out = (size_t)value;
            return 0;
        }
    }
    return EBADMSG;
}

static int take_tag(struct tc_input *input, enum tag tag)
{
    if (left(input) < 1 || *input->p != tag)
        return EBADMSG;
    input->p++;
    return 0;
}

static int take_bytes(struct tc_input *input, enum tag tag, const uint8_t **data, size_t *len)
{
    int error = take_tag(input, tag);
    if (!error)
        error = take_size(input, len);
    if (error || left(input) < *len)
        return EBADMSG;
    *data = input->p;
    input->p += *len;
    return 0;
}

static int take_count(struct tc_input *input, uint64_t *out)
{
    if (take_tag(input, TAG_COUNT) || left(input) < 8)
        return EBADMSG;
    *out = tc_be64(input->p);
    input->p += 8;
    return 0;
}

/* The number of values in a container; each takes a byte or more. */
static int take_vector(struct tc_input *input, size_t *count)
{
    int error = take_tag(input, TAG_VECTOR);
    if (!error)
        error = take_size(input, count);
    return error || *count > left(input) ? EBADMSG : 0;
}

static int skip_scalar(struct tc_input *input, unsigned tag)
{
    size_t len = SIZES[tag];
    if (tag == TAG_STRING || tag == TAG_ENUM) {
        if (take_size(input, &len))
            return EBADMSG;
    }
    if (left(input) < len || (tag == TAG_PORT && input->p[2] > 3) || (tag == TAG_SUBNET && input->p[16] > 128))
        return EBADMSG;
    input->p += len;
    return 0;
}

/* `count` values, whatever they hold. */
static int skip_values(struct tc_input *input, size_t count, unsigned depth)
{
    uint64_t open[TC_MESSAGE_DEPTH]; /* values that each open container still lacks */
    if (depth >= TC_MESSAGE_DEPTH)
        return EBADMSG;
    unsigned top = depth;
    for (open[top] = count;;) {
        while (open[top] == 0) {
            if (top == depth)
                return 0;
            top--;
        }
        open[top]--;
        if (left(input) < 1 || *input->p >= TAGS)
            return EBADMSG;
        unsigned tag = *input->p++;
        if (tag < TAG_SET) {
            if (skip_scalar(input, tag))
                return EBADMSG;
            continue;
        }
        size_t size;
        if (take_size(input, &size) || size > left(input) || top + 1 == TC_MESSAGE_DEPTH)
            return EBADMSG;
        open[++top] = tag == TAG_TABLE ? (uint64_t)size * 2 : size;
    }
}

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
    key->hash = tc_hash(writes->seed, names->path, names->path_len);
    key->hash = tc_hash(tc_hash(key->hash, names->stream, names->stream_len), names->writer, names->writer_len);
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

/* The content of a LogWrite; further elements are tolerated. */
static int log_write(struct tc_writes *writes, struct tc_input *input, unsigned depth)
{
    size_t count, len;
    const uint8_t *data;
    struct tc_write_group key = {0};
    struct tc_group *names = &key.names;
    if (take_vector(input, &count) || count < 4 ||
        take_bytes(input, TAG_ENUM, &names->stream, &names->stream_len) ||
        take_bytes(input, TAG_ENUM, &names->writer, &names->writer_len) ||
        take_bytes(input, TAG_STRING, &names->path, &names->path_len) ||
        take_bytes(input, TAG_STRING, &data, &len) || skip_values(input, count - 4, depth))
        return EBADMSG;
    return add_write(writes, &key, data, len);
}

/* A message of Zeek's: version, type, content, and whatever comes behind. */
static int message(struct tc_writes *writes, struct tc_input *input, unsigned depth)
{
    size_t count, inner;
    uint64_t version, type;
    if (depth + 2 >= TC_MESSAGE_DEPTH || take_vector(input, &count) || count < 3 || take_count(input, &version) ||
        version != 1 || take_count(input, &type))
        return EBADMSG;
    int error = 0;
    if (type == MESSAGE_LOG_WRITE) {
        error = log_write(writes, input, depth + 2);
    } else if (type == MESSAGE_BATCH) {
        error = take_vector(input, &inner);
        for (size_t i = 0; i < inner && !error; i++)
            error = message(writes, input, depth + 2);
    } else {
        writes->others++;
        error = skip_values(input, 1, depth + 1);
    }
    return error ? error : skip_values(input, count - 3, depth + 1);
}

int tc_writes_open(const uint8_t *payload, size_t len, struct tc_writes **out, uint64_t *error_offset)
{
    struct tc_input input = {.p = payload, .end = payload + len};
    *out = NULL;
    *error_offset = 0;
    struct tc_writes *writes = calloc(1, sizeof *writes);
    if (writes == NULL)
        return ENOMEM;
    writes->payload = payload;
    writes->seed = tc_seed(writes);
    int error = message(writes, &input, 0);
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
