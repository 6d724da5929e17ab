#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "big_endian.h"
#include "keyed_hash.h"
#include "transcode_schema.h"

#define COLUMN_MIN 14     /* of a batch's header: two marks, one length, two types */

static const uint8_t TYPES[][TC_TYPES] = {
    [TC_NUMBERING_5] = {[1] = TYPE_BOOL, [2] = TYPE_INT, [3] = TYPE_COUNT, [4] = TYPE_DOUBLE, [5] = TYPE_TIME,
                        [6] = TYPE_INTERVAL, [7] = TYPE_STRING, [9] = TYPE_ENUM, [10] = TYPE_PORT, [11] = TYPE_ADDR,
                        [12] = TYPE_SUBNET, [14] = TYPE_TABLE, [17] = TYPE_FUNC, [18] = TYPE_FILE,
                        [19] = TYPE_VECTOR},
    [TC_NUMBERING_4_1] = {[1] = TYPE_BOOL, [2] = TYPE_INT, [3] = TYPE_COUNT, [4] = TYPE_DOUBLE, [5] = TYPE_TIME,
                          [6] = TYPE_INTERVAL, [7] = TYPE_STRING, [9] = TYPE_ENUM, [11] = TYPE_PORT,
                          [12] = TYPE_ADDR, [13] = TYPE_SUBNET, [15] = TYPE_TABLE, [19] = TYPE_FUNC,
                          [20] = TYPE_FILE, [21] = TYPE_VECTOR},
    [TC_NUMBERING_2_6] = {[1] = TYPE_BOOL, [2] = TYPE_INT, [3] = TYPE_COUNT, [5] = TYPE_DOUBLE, [6] = TYPE_TIME,
                          [7] = TYPE_INTERVAL, [8] = TYPE_STRING, [10] = TYPE_ENUM, [12] = TYPE_PORT,
                          [13] = TYPE_ADDR, [14] = TYPE_SUBNET, [16] = TYPE_TABLE, [20] = TYPE_FUNC,
                          [21] = TYPE_FILE, [22] = TYPE_VECTOR},
};

void tc_schema_close(struct tc_schema *schema)
{
    if (schema == NULL)
        return;
    free(schema->label);
    free(schema->labels);
    free(schema->column);
    free(schema->header);
    free(schema);
}

static struct tc_schema *make_schema(size_t columns, size_t header_len, int numbering)
{
    struct tc_schema *schema = calloc(1, sizeof *schema);
    if (schema == NULL)
        return NULL;
    schema->types = TYPES[numbering];
    schema->columns = columns;
    schema->label = calloc(columns + 1, sizeof *schema->label);
    schema->column = calloc(columns + 1, sizeof *schema->column);
    schema->header = malloc(header_len + 1);
    schema->header_len = header_len;
    if (schema->label != NULL && schema->column != NULL && schema->header != NULL)
        return schema;
    tc_schema_close(schema);
    return NULL;
}

static int is_name(const struct tc_column *column, const char *name)
{
    return column->name_len == strlen(name) && memcmp(column->name, name, column->name_len) == 0;
}

/* The labels of the columns, whose names are set. */
static int make_labels(struct tc_schema *schema)
{
    struct tc_output output = {.max = SIZE_MAX / 8};
    int error = tc_reserve(&output, TC_LABEL_SLACK);
    for (size_t i = 0; i < schema->columns && !error; i++) {
        const struct tc_column *column = &schema->column[i];
        schema->taken |= is_name(column, "_path") ? TC_EXTRA_PATH : 0;
        schema->taken |= is_name(column, "_node") ? TC_EXTRA_NODE : 0;
        schema->taken |= is_name(column, "_write_ts") ? TC_EXTRA_WRITE_TS : 0;
        size_t start = (size_t)(output.p - output.start);
        *output.p++ = ',';
        error = tc_string(&output, column->name, column->name_len, JSON_TEXT_NAME);
        if (error)
            break;
        error = tc_reserve(&output, 2 + TC_LABEL_SLACK);
        if (error)
            break;
        *output.p++ = ':';
        size_t len = (size_t)(output.p - output.start) - start;
        schema->label[i] = (struct tc_label){.start = (uint32_t)start, .len = (uint32_t)len};
    }
    if (!error)
        memset(output.p, 0, (size_t)(output.end - output.p));
    schema->labels = output.start;
    schema->bytes = sizeof *schema + schema->header_len + (size_t)(output.end - output.start) +
                    schema->columns * (sizeof *schema->label + sizeof *schema->column);
    return error;
}

static int take(struct tc_input *input, size_t len, const uint8_t **out)
{
    if ((size_t)(input->end - input->p) < len)
        return EBADMSG;
    *out = input->p;
    input->p += len;
    return 0;
}

/* A length and that many bytes. */
static int take_text(struct tc_input *input, const uint8_t **text, size_t *len)
{
    const uint8_t *at = input->p, *size;
    if (take(input, 4, &size) || take(input, be32(size), text)) {
        input->p = at;
        return EBADMSG;
    }
    *len = be32(size);
    return 0;
}

static int take_column(struct tc_input *input, struct tc_column *column)
{
    const uint8_t *mark, *rest, *second;
    size_t second_len;
    int error = take(input, 1, &mark);
    if (!error && *mark == 1)
        error = take_text(input, &second, &second_len);
    if (!error)
        error = take_text(input, &column->name, &column->name_len);
    if (!error)
        error = take(input, 9, &rest);
    if (error)
        return error;
    column->type = (int32_t)be32(rest);
    column->subtype = (int32_t)be32(rest + 4);
    column->optional = rest[8] == 1;
    return 0;
}

/* The names and the number of columns, which the header is looked up by. */
static int take_names(struct tc_input *input, struct tc_names *names)
{
    const uint8_t *count;
    int error = take_text(input, &names->stream, &names->stream_len);
    if (!error)
        error = take_text(input, &names->writer, &names->writer_len);
    if (!error)
        error = take_text(input, &names->filter, &names->filter_len);
    if (!error)
        error = take_text(input, &names->path, &names->path_len);
    if (!error)
        error = take(input, 4, &count);
    if (error)
        return error;
    names->columns = be32(count);
    return names->columns == 0 || names->columns > (size_t)(input->end - input->p) / COLUMN_MIN ? EBADMSG : 0;
}

/* columns is NULL, or has room for all of them. */
static int take_columns(struct tc_input *input, size_t count, struct tc_column *columns)
{
    struct tc_column column;
    int error = 0;
    for (size_t i = 0; i < count && !error; i++)
        error = take_column(input, columns != NULL ? &columns[i] : &column);
    return error;
}

/* start: the header; input->p is behind its names. */
static int build_from_header(const uint8_t *start, struct tc_input *input, size_t columns, struct tc_schema **out)
{
    int error = take_columns(input, columns, NULL);
    if (error)
        return error;
    size_t len = (size_t)(input->p - start);
    if (len > TC_HEADER_MAX)
        return EMSGSIZE;
    struct tc_schema *schema = make_schema(columns, len, TC_NUMBERING_5);
    if (schema == NULL)
        return ENOMEM;
    memcpy(schema->header, start, len);
    struct tc_input copy = {.p = schema->header, .end = schema->header + len};
    error = take_names(&copy, &schema->names);
    if (!error)
        error = take_columns(&copy, columns, schema->column);
    if (!error)
        error = make_labels(schema);
    if (error) {
        tc_schema_close(schema);
        return error;
    }
    *out = schema;
    return 0;
}

static const uint8_t *keep(uint8_t **to, const uint8_t *text, size_t len)
{
    const uint8_t *kept = *to;
    if (len > 0)
        memcpy(*to, text, len);
    *to += len;
    return kept;
}

int tc_schema_open(const struct tc_names *names, const struct tc_column *columns, int numbering,
                   struct tc_schema **out)
{
    *out = NULL;
    if (names->columns == 0 || numbering < TC_NUMBERING_5 || numbering > TC_NUMBERING_2_6)
        return EINVAL;
    size_t len = 0;
    size_t lens[] = {names->stream_len, names->writer_len, names->filter_len, names->path_len, names->columns};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        len += lens[i] < TC_HEADER_MAX ? lens[i] : TC_HEADER_MAX;
        if (len > TC_HEADER_MAX)
            return EMSGSIZE;
    }
    for (size_t i = 0; i < names->columns; i++) {
        len += columns[i].name_len < TC_HEADER_MAX ? columns[i].name_len : TC_HEADER_MAX;
        if (len > TC_HEADER_MAX)
            return EMSGSIZE;
    }
    struct tc_schema *schema = make_schema(names->columns, len, numbering);
    if (schema == NULL)
        return ENOMEM;
    uint8_t *to = schema->header;
    schema->names = *names;
    schema->names.stream = keep(&to, names->stream, names->stream_len);
    schema->names.writer = keep(&to, names->writer, names->writer_len);
    schema->names.filter = keep(&to, names->filter, names->filter_len);
    schema->names.path = keep(&to, names->path, names->path_len);
    for (size_t i = 0; i < names->columns; i++) {
        schema->column[i] = columns[i];
        schema->column[i].name = keep(&to, columns[i].name, columns[i].name_len);
    }
    int error = make_labels(schema);
    if (error)
        tc_schema_close(schema);
    else
        *out = schema;
    return error;
}

void tc_schema_names(const struct tc_schema *schema, struct tc_names *out)
{
    *out = schema->names;
}

void tc_schema_column(const struct tc_schema *schema, size_t i, struct tc_column *out)
{
    *out = schema->column[i];
}

void tc_cache_open(struct tc_cache *cache)
{
    cache->seed = kh_seed(cache);
}

void tc_cache_close(struct tc_cache *cache)
{
    for (size_t set = 0; set < TC_SETS; set++) {
        for (size_t way = 0; way < TC_WAYS; way++) {
            tc_schema_close(cache->schemas[set][way]);
            cache->schemas[set][way] = NULL;
        }
    }
    cache->bytes = 0;
}

/* In the place of another, or of all others if they have become too much. */
static void keep_schema(struct tc_cache *cache, struct tc_schema **place, struct tc_schema *schema)
{
    if (schema->bytes > TC_CACHE_BYTES - cache->bytes)
        tc_cache_close(cache);
    if (*place != NULL)
        cache->bytes -= (*place)->bytes;
    tc_schema_close(*place);
    *place = schema;
    cache->bytes += schema->bytes;
    schema->id = ++cache->last_id;
    schema->last_use = ++cache->clock;
}

/* A header ends where its number of columns says, so that of another schema cannot begin with the bytes of this one. */
static int begins_with(const uint8_t *p, const uint8_t *end, const struct tc_schema *schema)
{
    return (size_t)(end - p) >= schema->header_len && memcmp(p, schema->header, schema->header_len) == 0;
}

int tc_cache_find(struct tc_cache *cache, struct tc_input *input, struct tc_schema **out, int *is_new)
{
    struct tc_names names;
    struct tc_schema *schema;
    const uint8_t *start = input->p;
    int error = take_names(input, &names);
    if (error)
        return error;
    uint64_t hash = kh_hash(cache->seed, start, (size_t)(input->p - start));
    struct tc_schema **set = cache->schemas[hash % TC_SETS], **oldest = set;
    for (struct tc_schema **way = set; way < set + TC_WAYS; way++) {
        if (*way != NULL && (*way)->hash == hash && begins_with(start, input->end, *way)) {
            (*way)->last_use = ++cache->clock;
            input->p = start + (*way)->header_len;
            *out = *way;
            *is_new = 0;
            return 0;
        }
        if (*oldest != NULL && (*way == NULL || (*way)->last_use < (*oldest)->last_use))
            oldest = way;
    }
    error = build_from_header(start, input, names.columns, &schema);
    if (error)
        return error;
    schema->hash = hash;
    keep_schema(cache, oldest, schema);
    *out = schema;
    *is_new = 1;
    return 0;
}
