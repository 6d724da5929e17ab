#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "logwriter.h"
#include "zmq_drain.h"
#include "transcode_record.h"
#include "batch_intake.h"

#define GROUPS_MAX 256
#define NAME_MAX_BYTES 255
#define KEPT_BYTES (1 << 20) /* of a group's buffer, from one round to the next */

static const char TAG[] = "log-write";
static const char FORMAT[] = "zeek-bin-serializer";

struct bytes {
    uint8_t *data;
    size_t len;
    size_t room;
};

struct group {
    uint8_t path[NAME_MAX_BYTES];
    uint8_t sender[NAME_MAX_BYTES];
    size_t path_len;
    size_t sender_len;
    struct bytes lines;
    struct bytes header;
    uint64_t rows;
    uint64_t schema_id;
};

/* Why the message in progress is refused; NOTHING if it is not yet. */
enum fault { NOTHING, BAD_FRAMES, BAD_FORMAT };

struct bi_intake {
    struct tc_transcoder *transcoder;
    size_t max_output;
    size_t output;
    struct bytes *filters;
    size_t filter_count;
    struct group *groups;
    size_t group_count;
    size_t last;           /* the group of the last batch: often the next one's */
    struct bytes refused;
    size_t frames;         /* of the message in progress */
    enum fault fault;
    uint8_t sender[NAME_MAX_BYTES];
    size_t sender_len;
    struct bi_counts counts;
};

static int append(struct bytes *to, const uint8_t *data, size_t len)
{
    if (len > to->room - to->len) {
        size_t room = to->room * 2 > to->len + len ? to->room * 2 : to->len + len;
        uint8_t *grown = realloc(to->data, room);
        if (grown == NULL)
            return ENOMEM;
        to->data = grown;
        to->room = room;
    }
    if (len != 0)
        memcpy(to->data + to->len, data, len);
    to->len += len;
    return 0;
}

static void release(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static int same(const uint8_t *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

int bi_open(struct tc_transcoder *transcoder, size_t max_output, struct bi_intake **out)
{
    *out = NULL;
    struct bi_intake *intake = calloc(1, sizeof *intake);
    if (intake == NULL)
        return ENOMEM;
    intake->groups = calloc(GROUPS_MAX, sizeof *intake->groups);
    if (intake->groups == NULL) {
        free(intake);
        return ENOMEM;
    }
    intake->transcoder = transcoder;
    intake->max_output = max_output;
    *out = intake;
    return 0;
}

void bi_close(struct bi_intake *intake)
{
    if (intake == NULL)
        return;
    bi_accept_none(intake);
    for (size_t i = 0; i < GROUPS_MAX; i++) {
        release(&intake->groups[i].lines);
        release(&intake->groups[i].header);
    }
    release(&intake->refused);
    free(intake->groups);
    free(intake);
}

int bi_accept(struct bi_intake *intake, const uint8_t *filter, size_t len)
{
    struct bytes *filters = realloc(intake->filters, (intake->filter_count + 1) * sizeof *filters);
    if (filters == NULL)
        return ENOMEM;
    intake->filters = filters;
    filters[intake->filter_count] = (struct bytes){0};
    int error = append(&filters[intake->filter_count], filter, len);
    if (error == 0)
        intake->filter_count++;
    return error;
}

void bi_accept_none(struct bi_intake *intake)
{
    for (size_t i = 0; i < intake->filter_count; i++)
        release(&intake->filters[i]);
    free(intake->filters);
    intake->filters = NULL;
    intake->filter_count = 0;
}

int bi_has_room(const struct bi_intake *intake)
{
    return intake->output < intake->max_output && intake->group_count < GROUPS_MAX && intake->refused.len == 0;
}

static int is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static int is_good_path(const uint8_t *path, size_t len)
{
    if (len == 0 || len > NAME_MAX_BYTES || !is_word(path[0]))
        return 0;
    for (size_t i = 1; i < len; i++)
        if (!is_word(path[i]) && path[i] != '.' && path[i] != '-')
            return 0;
    return 1;
}

static int is_accepted(const struct bi_intake *intake, const struct tc_names *names)
{
    for (size_t i = 0; i < intake->filter_count; i++)
        if (same(names->filter, names->filter_len, intake->filters[i].data, intake->filters[i].len))
            return 1;
    return 0;
}

static int is_log(const struct bi_intake *intake, const struct group *group, const struct tc_names *names)
{
    return same(names->path, names->path_len, group->path, group->path_len) &&
           same(intake->sender, intake->sender_len, group->sender, group->sender_len);
}

/* A further group, not yet counted; NULL without memory. */
static struct group *make_group(struct bi_intake *intake, const struct tc_names *names, const struct tc_schema *schema)
{
    if (intake->group_count == GROUPS_MAX)
        return NULL;
    struct group *group = &intake->groups[intake->group_count];
    group->header.len = 0;
    group->lines.len = 0;
    if (append(&group->header, schema->header, schema->header_len) != 0)
        return NULL;
    memcpy(group->path, names->path, names->path_len);
    group->path_len = names->path_len;
    if (intake->sender_len != 0)
        memcpy(group->sender, intake->sender, intake->sender_len);
    group->sender_len = intake->sender_len;
    group->schema_id = schema->id;
    group->rows = 0;
    return group;
}

/* The newest group of that path and sender, if it has this schema, or a further one: records do not change places. */
static struct group *find_group(struct bi_intake *intake, const struct tc_names *names, const struct tc_schema *schema)
{
    size_t i = intake->last;
    if (i >= intake->group_count || !is_log(intake, &intake->groups[i], names)) {
        i = intake->group_count;
        while (i > 0 && !is_log(intake, &intake->groups[i - 1], names))
            i--;
        if (i-- == 0)
            return make_group(intake, names, schema);
    }
    if (intake->groups[i].schema_id != schema->id)
        return make_group(intake, names, schema);
    intake->last = i;
    return &intake->groups[i];
}

/* Lines of a batch to those before it. 0 or ENOMEM. */
static int add_lines(struct bi_intake *intake, const struct tc_names *names, const struct tc_result *result)
{
    struct group *group = find_group(intake, names, result->schema);
    if (group == NULL || append(&group->lines, result->data, result->len) != 0)
        return ENOMEM;
    if (group == &intake->groups[intake->group_count])
        intake->last = intake->group_count++;
    group->rows += result->count;
    intake->output += result->len;
    intake->counts.records += result->count;
    return 0;
}

static int refuse(struct bi_intake *intake, const uint8_t *payload, size_t len)
{
    intake->refused.len = 0;
    int error = append(&intake->refused, payload, len);
    if (error == 0)
        intake->counts.bad_batch++;
    return error;
}

static int add_batch(struct bi_intake *intake, const uint8_t *payload, size_t len)
{
    static const struct tc_context NO_CONTEXT = {0};
    struct tc_result result = {0};
    struct tc_names names;
    int error = tc_batch_header(intake->transcoder, payload, len, &result);
    if (error != 0)
        return error == ENOMEM ? error : refuse(intake, payload, len);
    tc_schema_names(result.schema, &names);
    if (!is_accepted(intake, &names)) {
        intake->counts.other_filter++;
        return 0;
    }
    if (!is_good_path(names.path, names.path_len)) {
        intake->counts.bad_path++;
        return 0;
    }
    error = tc_batch(intake->transcoder, payload, len, &NO_CONTEXT, &result);
    if (error != 0)
        return error == ENOMEM ? error : refuse(intake, payload, len);
    if (result.count != 0) {
        tc_schema_names(result.schema, &names);
        error = add_lines(intake, &names, &result);
    }
    if (error == 0)
        intake->counts.accepted++;
    return error;
}

static void look_at_frame(struct bi_intake *intake, const uint8_t *data, size_t len)
{
    if (intake->fault != NOTHING)
        return;
    switch (intake->frames) {
    case 0:
        if (!same(data, len, TAG, sizeof TAG - 1))
            intake->fault = BAD_FRAMES;
        break;
    case 1:
        if (len > NAME_MAX_BYTES) {
            intake->fault = BAD_FRAMES;
            break;
        }
        if (len != 0)
            memcpy(intake->sender, data, len);
        intake->sender_len = len;
        break;
    case 2:
        if (!same(data, len, FORMAT, sizeof FORMAT - 1))
            intake->fault = BAD_FORMAT;
        break;
    default:
        break;
    }
}

int bi_frame(struct bi_intake *intake, const uint8_t *data, size_t len, int more)
{
    int error = 0;
    look_at_frame(intake, data, len);
    intake->frames++;
    if (more)
        return 0;
    intake->counts.messages++;
    if (intake->frames != 4 || intake->fault == BAD_FRAMES)
        intake->counts.bad_frames++;
    else if (intake->fault == BAD_FORMAT)
        intake->counts.bad_format++;
    else
        error = add_batch(intake, data, len);
    if (error != 0)
        intake->counts.no_memory++;
    intake->frames = 0;
    intake->fault = NOTHING;
    return error;
}

size_t bi_group_count(const struct bi_intake *intake)
{
    return intake->group_count;
}

void bi_get_group(const struct bi_intake *intake, size_t i, struct bi_group *out)
{
    const struct group *group = &intake->groups[i];
    *out = (struct bi_group){
        .path = group->path,
        .path_len = group->path_len,
        .sender = group->sender,
        .sender_len = group->sender_len,
        .data = group->lines.data,
        .bytes = group->lines.len,
        .rows = group->rows,
        .schema_id = group->schema_id,
        .header = group->header.data,
        .header_len = group->header.len,
    };
}

size_t bi_get_refused(const struct bi_intake *intake, const uint8_t **payload)
{
    *payload = intake->refused.data;
    return intake->refused.len;
}

void bi_reset(struct bi_intake *intake)
{
    for (size_t i = 0; i < intake->group_count; i++)
        if (intake->groups[i].lines.room > KEPT_BYTES)
            release(&intake->groups[i].lines);
    release(&intake->refused);
    intake->group_count = 0;
    intake->output = 0;
}

void bi_get_counts(const struct bi_intake *intake, struct bi_counts *out)
{
    *out = intake->counts;
}
