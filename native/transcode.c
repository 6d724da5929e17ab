#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "big_endian.h"
#include "transcode_schema.h"
#include "transcode_writes.h"

#define OUTPUT_MIN (1u << 20)
#define OUTPUT_KEPT (4u << 20) /* a larger buffer goes with the call that needed it */
#define VALUE_MIN 9

struct tc_transcoder {
    struct tc_cache cache;
    struct tc_format format;
    int extras;
    struct tc_output output;
    struct tc_output lead; /* what every line of this call begins with */
};

int tc_open(const struct tc_options *options, struct tc_transcoder **out)
{
    *out = NULL;
    if (options->time < TC_TIME_EPOCH || options->time > TC_TIME_ISO8601 || options->escape < TC_ESCAPE_HEX ||
        options->escape > TC_ESCAPE_PRIVATE || options->max_output < OUTPUT_MIN)
        return EINVAL;
    struct tc_transcoder *transcoder = calloc(1, sizeof *transcoder);
    if (transcoder == NULL)
        return ENOMEM;
    tc_cache_open(&transcoder->cache);
    transcoder->extras = options->extras;
    transcoder->output.max = options->max_output;
    transcoder->lead.max = options->max_output;
    transcoder->format.with_unset = options->with_unset != 0;
    transcoder->format.time = (enum tc_time)options->time;
    transcoder->format.strings = (enum json_text_policy)options->escape;
    transcoder->format.names = options->escape == TC_ESCAPE_PRIVATE ? JSON_TEXT_HEX : transcoder->format.strings;
    *out = transcoder;
    return 0;
}

void tc_close(struct tc_transcoder *transcoder)
{
    if (transcoder == NULL)
        return;
    tc_cache_close(&transcoder->cache);
    free(transcoder->output.start);
    free(transcoder->lead.start);
    free(transcoder);
}

static int add_label(struct tc_output *lead, const char *label)
{
    size_t len = strlen(label);
    int error = tc_reserve(lead, len + JSON_TEXT_TIME);
    if (error)
        return error;
    memcpy(lead->p, label, len);
    lead->p += len;
    return 0;
}

static int add_text(struct tc_output *lead, const char *label, const uint8_t *text, size_t len)
{
    int error = add_label(lead, label);
    return error ? error : tc_string(lead, len > 0 ? text : (const uint8_t *)"", len, JSON_TEXT_HEX);
}

static int make_lead(struct tc_transcoder *transcoder, const struct tc_schema *schema, const struct tc_context *context)
{
    struct tc_output *lead = &transcoder->lead;
    int wanted = transcoder->extras & ~schema->taken, error = 0;
    lead->p = lead->start;
    if (wanted & TC_EXTRA_PATH)
        error = add_text(lead, ",\"_path\":", schema->names.path, schema->names.path_len);
    if (!error && wanted & TC_EXTRA_NODE)
        error = add_text(lead, ",\"_node\":", context->node, context->node_len);
    if (!error && wanted & TC_EXTRA_WRITE_TS) {
        error = add_label(lead, ",\"_write_ts\":");
        if (!error)
            lead->p = tc_time(lead->p, context->write_ts, &transcoder->format);
    }
    return error;
}

/* An empty output with some room for what becomes of `size` bytes; JSON is about as long as the records. */
static int start_output(struct tc_transcoder *transcoder, size_t size)
{
    struct tc_output *output = &transcoder->output;
    if ((size_t)(output->end - output->start) > OUTPUT_KEPT) {
        free(output->start);
        output->start = output->end = NULL;
    }
    output->p = output->start;
    return tc_reserve(output, (size < output->max ? size : output->max) + 1);
}

static int is_too_long(const struct tc_output *output)
{
    return (size_t)(output->p - output->start) > output->max;
}

static void give(const struct tc_output *output, struct tc_result *out)
{
    out->data = output->start;
    out->len = (size_t)(output->p - output->start);
}

static int batch_records(struct tc_transcoder *transcoder, struct tc_input *input, const struct tc_schema *schema,
                         const struct tc_context *context, uint64_t *count)
{
    size_t left = (size_t)(input->end - input->p);
    if (left < 4)
        return EBADMSG;
    uint64_t records = be32(input->p);
    if (records > (left - 4) / VALUE_MIN / schema->columns)
        return EBADMSG;
    int error = make_lead(transcoder, schema, context);
    if (!error)
        error = start_output(transcoder, left);
    input->p += 4;
    for (uint64_t i = 0; i < records && !error; i++)
        error = tc_record(&transcoder->output, input, schema, &transcoder->lead, &transcoder->format);
    if (!error && input->p != input->end)
        error = EBADMSG;
    if (!error && is_too_long(&transcoder->output))
        error = EMSGSIZE;
    *count = records;
    return error;
}

int tc_batch(struct tc_transcoder *transcoder, const uint8_t *payload, size_t len, const struct tc_context *context,
             struct tc_result *out)
{
    struct tc_input input = {.p = payload, .end = payload + len};
    struct tc_schema *schema = NULL;
    uint64_t count = 0;
    *out = (struct tc_result){0};
    int error = tc_cache_find(&transcoder->cache, &input, &schema, &out->schema_is_new);
    if (!error) {
        out->schema = schema;
        out->schema_id = schema->id;
        error = batch_records(transcoder, &input, schema, context, &count);
    }
    if (error) {
        out->error_offset = (uint64_t)(input.p - payload);
        return error;
    }
    out->count = count;
    give(&transcoder->output, out);
    return 0;
}

int tc_batch_header(struct tc_transcoder *transcoder, const uint8_t *payload, size_t len, struct tc_result *out)
{
    struct tc_input input = {.p = payload, .end = payload + len};
    struct tc_schema *schema = NULL;
    *out = (struct tc_result){0};
    int error = tc_cache_find(&transcoder->cache, &input, &schema, &out->schema_is_new);
    out->error_offset = error ? (uint64_t)(input.p - payload) : 0;
    if (error)
        return error;
    out->schema = schema;
    out->schema_id = schema->id;
    return 0;
}

/* The columns in the record, and nothing behind them. */
static int one_write(struct tc_transcoder *transcoder, struct tc_input *input, const struct tc_schema *schema)
{
    if (input->end - input->p < 4 || be32(input->p) != schema->columns)
        return EBADMSG;
    input->p += 4;
    int error = tc_record(&transcoder->output, input, schema, &transcoder->lead, &transcoder->format);
    return !error && input->p != input->end ? EBADMSG : error;
}

int tc_group_lines(struct tc_transcoder *transcoder, const struct tc_writes *writes, size_t i,
                   const struct tc_schema *schema, const struct tc_context *context, struct tc_result *out)
{
    struct tc_output *output = &transcoder->output;
    const struct tc_write_group *group = &writes->groups[i];
    *out = (struct tc_result){0};
    int error = make_lead(transcoder, schema, context);
    if (!error)
        error = start_output(transcoder, (size_t)group->names.bytes);
    for (size_t next = group->first; next != 0 && !error; next = writes->writes[next - 1].next) {
        const struct tc_write *write = &writes->writes[next - 1];
        struct tc_input input = {.p = write->data, .end = write->data + write->len};
        size_t before = (size_t)(output->p - output->start);
        error = one_write(transcoder, &input, schema);
        if (error == EBADMSG) {
            if (out->refused++ == 0)
                out->error_offset = (uint64_t)(input.p - writes->payload);
            output->p = output->start + before;
            error = 0;
        } else {
            out->count++;
        }
    }
    if (!error && is_too_long(output))
        error = EMSGSIZE;
    if (error) {
        *out = (struct tc_result){0};
        return error;
    }
    give(output, out);
    return 0;
}
