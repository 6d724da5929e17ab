/* One record: from bytes to a JSON line in a growing buffer. Internal to the C module, not for Python. */
#ifndef TRANSCODE_RECORD_H
#define TRANSCODE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "json_text.h"
#include "transcode.h"

/* Zeek's types, numbered as by 5.0 and later; of these, only the named ones occur in logs. */
enum tc_type {
    TYPE_NONE = 0,
    TYPE_BOOL = 1,
    TYPE_INT = 2,
    TYPE_COUNT = 3,
    TYPE_DOUBLE = 4,
    TYPE_TIME = 5,
    TYPE_INTERVAL = 6,
    TYPE_STRING = 7,
    TYPE_ENUM = 9,
    TYPE_PORT = 10,
    TYPE_ADDR = 11,
    TYPE_SUBNET = 12,
    TYPE_TABLE = 14,
    TYPE_FUNC = 17,
    TYPE_FILE = 18,
    TYPE_VECTOR = 19,
};

#define TC_TYPES 26 /* the most that a numbering has */

/* `,"name":` of a column. */
struct tc_label {
    uint32_t start; /* in tc_schema.labels, which has TC_LABEL_SLACK bytes more than it needs */
    uint32_t len;
};

#define TC_LABEL_SLACK 32

struct tc_schema {
    size_t columns;
    struct tc_label *label;
    uint8_t *labels;
    const uint8_t *types; /* from Zeek's numbers, TC_TYPES of them */
    int taken;            /* extra members whose names are columns, enum tc_extra */

    size_t bytes; /* of memory, about */
    uint64_t id;
    uint64_t last_use;
    uint64_t hash;
    uint8_t *header;      /* what the names point into: of a batch, its bytes up to the number of records */
    size_t header_len;
    struct tc_names names;
    struct tc_column *column;
};

struct tc_output {
    uint8_t *p;
    uint8_t *end;
    uint8_t *start;
    size_t max;
};

struct tc_format {
    enum tc_time time;
    enum json_text_policy strings; /* for strings */
    enum json_text_policy names;   /* for everything else that is text */
    int with_unset;
    struct json_text_clock clock;
};

struct tc_input {
    const uint8_t *p;
    const uint8_t *end;
};

/* Room for size bytes at output->p. 0, ENOMEM, or EMSGSIZE. */
int tc_grow(struct tc_output *output, size_t size);

static inline int tc_reserve(struct tc_output *output, size_t size)
{
    return (size_t)(output->end - output->p) >= size ? 0 : tc_grow(output, size);
}

/* A JSON string with its quotes. */
int tc_string(struct tc_output *output, const uint8_t *text, size_t len, enum json_text_policy policy);

/* A time in the wanted form; needs JSON_TEXT_TIME of room. */
uint8_t *tc_time(uint8_t *out, double seconds, struct tc_format *format);

/* One record and its newline; lead is what every line begins with, either nothing or a comma and the extra members. 0,
 * EBADMSG, EMSGSIZE or ENOMEM; input->p is where it stopped. */
int tc_record(struct tc_output *output, struct tc_input *input, const struct tc_schema *schema,
              const struct tc_output *lead, struct tc_format *format);

#endif
