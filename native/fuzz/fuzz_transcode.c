#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_row.h"
#include "transcode.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

#define MAX_OUTPUT (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As many rows as said, each one JSON object on a line. */
static void check_lines(const struct tc_result *result)
{
    const uint8_t *p = result->data, *end = p + result->len;
    REQUIRE(result->len <= MAX_OUTPUT);
    for (uint64_t i = 0; i < result->count; i++) {
        const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
        REQUIRE(newline != NULL);
        REQUIRE(json_row_check(p, (size_t)(newline - p), NULL) == 0);
        p = newline + 1;
    }
    REQUIRE(p == end);
}

static void touch_columns(const struct tc_schema *schema)
{
    struct tc_names names;
    struct tc_column column;
    tc_schema_names(schema, &names);
    REQUIRE(names.columns > 0);
    for (size_t i = 0; i < names.columns; i++) {
        tc_schema_column(schema, i, &column);
        REQUIRE(column.name_len == 0 || column.name[column.name_len - 1] <= 255);
    }
}

/* The second time with the schema from the cache. */
static void try_batch(struct tc_transcoder *transcoder, const uint8_t *data, size_t size,
                      const struct tc_context *context)
{
    struct tc_result first, second;
    int error = tc_batch(transcoder, data, size, context, &first);
    REQUIRE(error == 0 || first.error_offset <= size);
    REQUIRE(error == 0 || first.count == 0);
    if (error == 0)
        check_lines(&first);
    if (first.schema == NULL)
        return;
    touch_columns(first.schema);
    uint8_t *copy = malloc(first.len + 1);
    REQUIRE(copy != NULL);
    if (first.len > 0)
        memcpy(copy, first.data, first.len);
    REQUIRE(tc_batch(transcoder, data, size, context, &second) == error);
    REQUIRE(first.schema_is_new && !second.schema_is_new && first.schema_id == second.schema_id);
    REQUIRE(first.len == second.len && (first.len == 0 || memcmp(copy, second.data, first.len) == 0));
    REQUIRE(first.count == second.count && first.error_offset == second.error_offset);
    free(copy);
    REQUIRE(tc_batch_header(transcoder, data, size, &second) == 0 && second.schema_id == first.schema_id);
}

static void try_message(struct tc_transcoder *transcoder, const uint8_t *data, size_t size, unsigned choice,
                        const struct tc_context *context)
{
    const uint8_t text[] = "_path";
    struct tc_column columns[3] = {{.name = text, .name_len = 1}, {.name = text, .name_len = 5}, {.name = text}};
    struct tc_names names = {.path = text, .path_len = sizeof text - 1, .columns = 1 + choice % 3};
    struct tc_schema *schema;
    struct tc_writes *writes;
    uint64_t offset;
    if (tc_writes_open(data, size, &writes, &offset) != 0) {
        REQUIRE(offset <= size);
        return;
    }
    REQUIRE(tc_schema_open(&names, columns, (int)(choice / 3 % 3), &schema) == 0);
    for (size_t i = 0; i < tc_writes_group_count(writes); i++) {
        struct tc_group group;
        struct tc_result result;
        tc_writes_group(writes, i, &group);
        if (tc_group_lines(transcoder, writes, i, schema, context, &result) == 0) {
            check_lines(&result);
            REQUIRE(result.count + result.refused == group.count);
        }
    }
    tc_schema_close(schema);
    tc_writes_close(writes);
}

/* Two bytes choose the form and the options; the address sanitizer sees reads behind the rest. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned choice = data[1];
    struct tc_options options = {.time = data[0] & 3, .escape = (data[0] >> 2 & 3) % 3, .extras = data[0] >> 4 & 7};
    options.with_unset = data[0] >> 7;
    options.max_output = MAX_OUTPUT;
    struct tc_context context = {.write_ts = choice * 1e7};
    if (choice & 1) {
        context.node = data;
        context.node_len = 2;
    }
    struct tc_transcoder *transcoder;
    REQUIRE(tc_open(&options, &transcoder) == 0);
    if (choice < 128)
        try_batch(transcoder, data + 2, size - 2, &context);
    else
        try_message(transcoder, data + 2, size - 2, choice - 128, &context);
    tc_close(transcoder);
    return 0;
}
