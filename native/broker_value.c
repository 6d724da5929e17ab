#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "big_endian.h"
#include "broker_value.h"
#include "keyed_hash.h"

#define HASHES_FIRST 64
#define SORTED_BY_HAND 24 /* so few hashes that a function call for each comparison costs more */

/* Bytes behind the tag, of those that have a fixed size. */
static const uint8_t SIZES[BV_TAGS] = {
    [BV_BOOLEAN] = 1, [BV_COUNT] = 8, [BV_INTEGER] = 8,   [BV_REAL] = 8,     [BV_ADDRESS] = 16,
    [BV_SUBNET] = 17, [BV_PORT] = 3,  [BV_TIMESTAMP] = 8, [BV_TIMESPAN] = 8,
};

static size_t left(const struct bv_input *input)
{
    return (size_t)(input->end - input->p);
}

void bv_hashes_release(struct bv_hashes *hashes)
{
    free(hashes->values);
    hashes->values = NULL;
    hashes->len = hashes->room = 0;
}

static int push(struct bv_hashes *hashes, uint64_t hash)
{
    if (hashes->len == hashes->room) {
        size_t room = hashes->room == 0 ? HASHES_FIRST : hashes->room * 2;
        uint64_t *values = realloc(hashes->values, room * sizeof *values);
        if (values == NULL)
            return ENOMEM;
        hashes->values = values;
        hashes->room = room;
    }
    hashes->values[hashes->len++] = hash;
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted rather than looked up in a table: a peer that found out the seed gains nothing. */
static void sort(uint64_t *values, size_t len)
{
    if (len > SORTED_BY_HAND) {
        qsort(values, len, sizeof *values, compare);
        return;
    }
    for (size_t i = 1; i < len; i++) {
        uint64_t value = values[i];
        size_t j = i;
        for (; j > 0 && values[j - 1] > value; j--)
            values[j] = values[j - 1];
        values[j] = value;
    }
}

/* Take off the hashes from `base` on; EBADMSG if there are equal ones. */
static int pop_distinct(struct bv_hashes *hashes, size_t base)
{
    size_t len = hashes->len - base;
    hashes->len = base;
    if (len < 2)
        return 0;
    uint64_t *values = hashes->values + base;
    sort(values, len);
    for (size_t i = 1; i < len; i++)
        if (values[i] == values[i - 1])
            return EBADMSG;
    return 0;
}

int bv_size(struct bv_input *input, size_t *out)
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

static int take_tag(struct bv_input *input, enum bv_tag tag)
{
    if (left(input) < 1 || *input->p != tag)
        return EBADMSG;
    input->p++;
    return 0;
}

static int take_text(struct bv_input *input, const uint8_t **data, size_t *len)
{
    int error = bv_size(input, len);
    if (error || left(input) < *len)
        return EBADMSG;
    *data = input->p;
    input->p += *len;
    return 0;
}

int bv_text(struct bv_input *input, enum bv_tag tag, const uint8_t **data, size_t *len)
{
    int error = take_tag(input, tag);
    return error ? error : take_text(input, data, len);
}

int bv_count(struct bv_input *input, uint64_t *out)
{
    if (take_tag(input, BV_COUNT) || left(input) < 8)
        return EBADMSG;
    *out = be64(input->p);
    input->p += 8;
    return 0;
}

/* What a container announces: a table has two values for each key. Each takes a byte or more. */
static int open_container(struct bv_input *input, unsigned tag, unsigned depth, size_t *count)
{
    if (depth == 0 || bv_size(input, count) || *count > left(input))
        return EBADMSG;
    uint64_t values = tag == BV_TABLE ? (uint64_t)*count * 2 : *count;
    if (values > left(input) || values > input->values)
        return EBADMSG;
    input->values -= values;
    return 0;
}

int bv_vector(struct bv_input *input, unsigned depth, size_t *count)
{
    int error = take_tag(input, BV_VECTOR);
    return error ? error : open_container(input, BV_VECTOR, depth, count);
}

/* The same number for all bytes that are read as the same real: one zero (subnormals are taken for it), one NaN, and
 * two infinities, which Broker writes the wrong way round. What is a NaN only to IEEE 754 is an infinity to Broker. */
static uint64_t same_real(uint64_t bits)
{
    const uint64_t sign = UINT64_C(1) << 63, exponent = UINT64_C(0x7ff) << 52;
    if ((bits & exponent) == 0)
        return 0;
    if ((bits & exponent) != exponent || bits == UINT64_MAX)
        return bits;
    if ((bits & ~sign) == exponent)
        bits ^= sign;
    return exponent | (bits & sign);
}

static int scalar(struct bv_input *input, unsigned tag, uint64_t *hash)
{
    const uint8_t *data = input->p;
    size_t len = SIZES[tag];
    if (tag == BV_STRING || tag == BV_ENUM) {
        if (take_text(input, &data, &len))
            return EBADMSG;
    } else {
        if (left(input) < len || (tag == BV_PORT && data[2] > 3) || (tag == BV_SUBNET && data[16] > 128))
            return EBADMSG;
        input->p += len;
    }
    if (hash == NULL)
        return 0;
    uint64_t seed = kh_mix(input->hashes->seed, tag);
    if (tag == BV_BOOLEAN)
        *hash = kh_mix(seed, data[0] != 0);
    else if (tag == BV_REAL)
        *hash = kh_mix(seed, same_real(be64(data)));
    else
        *hash = kh_hash(seed, data, len);
    return 0;
}

static int value(struct bv_input *input, unsigned depth, uint64_t *hash);

/* A container's hash depends on the order of its values only if it is a vector. */
static int container(struct bv_input *input, unsigned tag, unsigned depth, uint64_t *hash)
{
    size_t count;
    int error = open_container(input, tag, depth, &count);
    if (error)
        return error;
    struct bv_hashes *hashes = tag == BV_VECTOR ? NULL : input->hashes;
    size_t base = hashes == NULL ? 0 : hashes->len;
    uint64_t total = hash == NULL ? 0 : kh_mix(kh_mix(input->hashes->seed, tag), count);
    for (size_t i = 0; i < count && !error; i++) {
        uint64_t item = 0, under = 0;
        error = value(input, depth - 1, hash != NULL || hashes != NULL ? &item : NULL);
        if (!error && hashes != NULL)
            error = push(hashes, item);
        if (!error && tag == BV_TABLE)
            error = value(input, depth - 1, hash != NULL ? &under : NULL);
        if (hash != NULL)
            total = tag == BV_VECTOR ? kh_mix(total, item) : total + kh_mix(kh_mix(item, tag), under);
    }
    if (hashes != NULL) {
        int is_twice = pop_distinct(hashes, base);
        error = error ? error : is_twice;
    }
    if (hash != NULL)
        *hash = total;
    return error;
}

static int value(struct bv_input *input, unsigned depth, uint64_t *hash)
{
    if (left(input) < 1 || *input->p >= BV_TAGS)
        return EBADMSG;
    unsigned tag = *input->p++;
    return tag < BV_SET ? scalar(input, tag, hash) : container(input, tag, depth, hash);
}

int bv_skip(struct bv_input *input, unsigned depth, size_t count)
{
    int error = 0;
    for (; count > 0 && !error; count--)
        error = value(input, depth, NULL);
    return error;
}
