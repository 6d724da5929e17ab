/* Broker's binary format of values, read without making anything of them. Internal to the C module, not for Python.
 *
 * What is taken here is taken by appliance/zeek/binary.py and the other way round: the same bounds, the same mistakes.
 */
#ifndef BROKER_VALUE_H
#define BROKER_VALUE_H

#include <stddef.h>
#include <stdint.h>

#define BV_DEPTH 100      /* containers inside each other, in a whole message */
#define BV_VALUES 1000000 /* in one root value, itself and containers included */

enum bv_tag {
    BV_NONE,
    BV_BOOLEAN,
    BV_COUNT,
    BV_INTEGER,
    BV_REAL,
    BV_STRING,
    BV_ADDRESS,
    BV_SUBNET,
    BV_PORT,
    BV_TIMESTAMP,
    BV_TIMESPAN,
    BV_ENUM,
    BV_SET,
    BV_TABLE,
    BV_VECTOR,
    BV_TAGS,
};

/* Of the elements of all open sets, and the keys of all open tables. Begins with kh_seed() and zeros. */
struct bv_hashes {
    uint64_t seed;
    uint64_t *values;
    size_t len;
    size_t room;
};

/* Where a reader is. Every function moves p, which stays where it is wrong; none reads at or behind end. */
struct bv_input {
    const uint8_t *p;
    const uint8_t *end;
    uint64_t values;          /* that containers may still announce */
    struct bv_hashes *hashes; /* NULL: that sets and tables hold nothing twice is not checked */
};

/* A whole root value of data[len]. */
static inline struct bv_input bv_input(const uint8_t *data, size_t len, struct bv_hashes *hashes)
{
    return (struct bv_input){.p = data, .end = data + len, .values = BV_VALUES - 1, .hashes = hashes};
}

/* Free the memory; it is ready for use again. */
void bv_hashes_release(struct bv_hashes *hashes);

/* All of these return 0 or EBADMSG; bv_skip() also ENOMEM. */

/* An unsigned 32-bit number of one to five bytes, low bits first. */
int bv_size(struct bv_input *input, size_t *out);
/* A string or an enum value; data points into the input. */
int bv_text(struct bv_input *input, enum bv_tag tag, const uint8_t **data, size_t *len);
int bv_count(struct bv_input *input, uint64_t *out);
/* The beginning of a vector. depth: containers that may be open inside each other from here on, this one included. */
int bv_vector(struct bv_input *input, unsigned depth, size_t *count);
/* That many values, whatever they are. If hashes are kept, a value that is twice in a set or a key that is twice in a
 * table is wrong; so may be, once in 2^64, two that are not the same. */
int bv_skip(struct bv_input *input, unsigned depth, size_t count);

#endif
