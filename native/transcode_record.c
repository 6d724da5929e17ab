#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "big_endian.h"
#include "transcode_record.h"

#define VALUE_MIN 9          /* type, subtype, presence */
#define FIXED_ROOM 96        /* any value but a string or a container, with quotes and a comma */
#define SEGMENT 4096         /* of a string that needs care, escaped at a time */
#define SUBNET_IPV4_BITS 96  /* an IPv4 prefix is counted in the IPv6 space */

_Static_assert(FIXED_ROOM >= JSON_TEXT_TIME + 2 && FIXED_ROOM >= JSON_TEXT_ADDRESS + 8, "the largest fixed values");

int tc_grow(struct tc_output *output, size_t size)
{
    size_t used = (size_t)(output->p - output->start), room = (size_t)(output->end - output->start);
    if (used > output->max)
        return EMSGSIZE;
    if (size > SIZE_MAX / 4 - used)
        return ENOMEM;
    room = room < output->max / 2 ? room * 2 : output->max;
    if (room < used + size)
        room = used + size;
    uint8_t *start = realloc(output->start, room);
    if (start == NULL)
        return ENOMEM;
    output->start = start;
    output->p = start + used;
    output->end = start + room;
    return 0;
}

static int careful_string(struct tc_output *output, const uint8_t *text, const uint8_t *end,
                          enum json_text_policy policy)
{
    enum json_text_care care = json_text_inspect(text, end, policy);
    while (text < end) {
        const uint8_t *stop = end - text > SEGMENT ? text + SEGMENT : end;
        int error = tc_reserve(output, (size_t)(stop - text) * JSON_TEXT_ESCAPED + 1);
        if (error)
            return error;
        output->p = json_text_escaped(output->p, &text, stop, end, policy, care);
    }
    return 0;
}

int tc_string(struct tc_output *output, const uint8_t *text, size_t len, enum json_text_policy policy)
{
    const uint8_t *end = text + len;
    int error = tc_reserve(output, len + 2 + JSON_TEXT_SLACK);
    if (error)
        return error;
    *output->p++ = '"';
    output->p = json_text_plain(output->p, &text, end);
    if (text < end) {
        error = careful_string(output, text, end, policy);
        if (error)
            return error;
    }
    *output->p++ = '"';
    return 0;
}

uint8_t *tc_time(uint8_t *out, double seconds, struct tc_format *format)
{
    if (format->time == TC_TIME_EPOCH)
        return json_text_double(out, seconds);
    if (format->time == TC_TIME_ISO8601)
        return json_text_iso8601(out, seconds, &format->clock);
    double millis = seconds * 1000;
    int64_t whole = millis >= -0x1p63 && millis < 0x1p63 ? (int64_t)millis : INT64_MIN;
    return format->time == TC_TIME_MILLIS ? json_text_i64(out, whole) : json_text_u64(out, (uint64_t)whole);
}

static double real(const uint8_t *p)
{
    uint64_t bits = be64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static size_t left(const struct tc_input *input)
{
    return (size_t)(input->end - input->p);
}

static int text_value(struct tc_output *output, struct tc_input *input, enum json_text_policy policy)
{
    if (left(input) < 4)
        return EBADMSG;
    size_t len = be32(input->p);
    if (left(input) - 4 < len)
        return EBADMSG;
    int error = tc_string(output, input->p + 4, len, policy);
    if (!error)
        input->p += 4 + len;
    return error;
}

static int port_value(struct tc_output *output, struct tc_input *input)
{
    if (left(input) < 12 || be32(input->p + 8) > 3)
        return EBADMSG;
    output->p = json_text_u64(output->p, be64(input->p));
    input->p += 12;
    return 0;
}

/* head: bytes before the family, 1 for the prefix length of a subnet. */
static int address_value(struct tc_output *output, struct tc_input *input, size_t head)
{
    const uint8_t *p = input->p;
    if (left(input) < head + 5)
        return EBADMSG;
    int is_ipv6 = p[head] == 6;
    size_t size = is_ipv6 ? 16 : 4;
    if ((!is_ipv6 && p[head] != 4) || left(input) < head + 1 + size)
        return EBADMSG;
    if (head > 0 && (p[0] > 128 || (!is_ipv6 && p[0] < SUBNET_IPV4_BITS)))
        return EBADMSG;
    *output->p++ = '"';
    output->p = json_text_address(output->p, p + head + 1, is_ipv6);
    if (head > 0) {
        *output->p++ = '/';
        output->p = json_text_u64(output->p, p[0] - (is_ipv6 ? 0u : SUBNET_IPV4_BITS));
    }
    *output->p++ = '"';
    input->p += head + 1 + size;
    return 0;
}

static int container(struct tc_output *output, struct tc_input *input, const struct tc_schema *schema,
                     struct tc_format *format, int depth);

/* The body of a value; there is FIXED_ROOM at output->p. */
static int value(struct tc_output *output, struct tc_input *input, const struct tc_schema *schema, unsigned type,
                 struct tc_format *format, int depth)
{
    const uint8_t *p = input->p;
    switch (type) {
    case TYPE_STRING:
        return text_value(output, input, format->strings);
    case TYPE_ENUM:
    case TYPE_FUNC:
    case TYPE_FILE:
        return text_value(output, input, format->names);
    case TYPE_PORT:
        return port_value(output, input);
    case TYPE_ADDR:
        return address_value(output, input, 0);
    case TYPE_SUBNET:
        return address_value(output, input, 1);
    case TYPE_TABLE:
    case TYPE_VECTOR:
        return container(output, input, schema, format, depth);
    default:
        break;
    }
    if (left(input) < 8)
        return EBADMSG;
    switch (type) {
    case TYPE_BOOL: {
        int is_true = be64(p) != 0;
        memcpy(output->p, is_true ? "true" : "false", is_true ? 4 : 5);
        output->p += is_true ? 4 : 5;
        break;
    }
    case TYPE_INT:
        output->p = json_text_i64(output->p, (int64_t)be64(p));
        break;
    case TYPE_COUNT:
        output->p = json_text_u64(output->p, be64(p));
        break;
    case TYPE_TIME:
        output->p = tc_time(output->p, real(p), format);
        break;
    case TYPE_DOUBLE:
    case TYPE_INTERVAL:
        output->p = json_text_double(output->p, real(p));
        break;
    default:
        return EBADMSG;
    }
    input->p += 8;
    return 0;
}

/* Whether a value follows, and of which type. */
static int begin(struct tc_input *input, const struct tc_schema *schema, unsigned *type)
{
    uint32_t number = be32(input->p);
    int is_present = input->p[8] == 1; /* as Zeek reads it */
    *type = number < TC_TYPES ? schema->types[number] : TYPE_NONE;
    input->p += VALUE_MIN;
    return is_present;
}

static uint8_t *put_null(uint8_t *out)
{
    memcpy(out, "null", 4);
    return out + 4;
}

static int container(struct tc_output *output, struct tc_input *input, const struct tc_schema *schema,
                     struct tc_format *format, int depth)
{
    if (left(input) < 8 || depth == TC_DEPTH)
        return EBADMSG;
    uint64_t count = be64(input->p);
    if (count > (left(input) - 8) / VALUE_MIN)
        return EBADMSG;
    input->p += 8;
    *output->p++ = '[';
    for (uint64_t i = 0; i < count; i++) {
        unsigned type;
        int error = tc_reserve(output, FIXED_ROOM);
        if (error)
            return error;
        if (i > 0)
            *output->p++ = ',';
        if (left(input) < VALUE_MIN)
            return EBADMSG;
        if (begin(input, schema, &type)) {
            error = value(output, input, schema, type, format, depth + 1);
            if (error)
                return error;
        } else {
            output->p = put_null(output->p);
        }
    }
    int error = tc_reserve(output, 1);
    if (!error)
        *output->p++ = ']';
    return error;
}

/* Most labels are short: a copy of a fixed size is one or two instructions. */
static uint8_t *put_label(uint8_t *out, const uint8_t *label, size_t len)
{
    if (len <= TC_LABEL_SLACK)
        memcpy(out, label, TC_LABEL_SLACK);
    else
        memcpy(out, label, len);
    return out + len;
}

int tc_record(struct tc_output *output, struct tc_input *input, const struct tc_schema *schema,
              const struct tc_output *lead, struct tc_format *format)
{
    size_t lead_len = (size_t)(lead->p - lead->start), line = (size_t)(output->p - output->start);
    int error = tc_reserve(output, lead_len);
    if (error)
        return error;
    if (lead_len > 0) {
        memcpy(output->p, lead->start, lead_len);
        output->p += lead_len;
    }
    for (size_t i = 0; i < schema->columns; i++) {
        unsigned type;
        if (left(input) < VALUE_MIN)
            return EBADMSG;
        int is_set = begin(input, schema, &type);
        if (!is_set && !format->with_unset)
            continue;
        struct tc_label label = schema->label[i];
        error = tc_reserve(output, label.len + TC_LABEL_SLACK + FIXED_ROOM);
        if (error)
            return error;
        output->p = put_label(output->p, schema->labels + label.start, label.len);
        if (is_set)
            error = value(output, input, schema, type, format, 0);
        else
            output->p = put_null(output->p);
        if (error)
            return error;
    }
    error = tc_reserve(output, 3);
    if (error)
        return error;
    if (output->p == output->start + line)
        output->p++;
    output->start[line] = '{'; /* in the place of the first comma, if there is one */
    *output->p++ = '}';
    *output->p++ = '\n';
    return 0;
}
