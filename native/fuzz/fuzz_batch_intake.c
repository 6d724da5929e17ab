#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_row.h"
#include "logwriter.h"
#include "zmq_drain.h"
#include "transcode.h"
#include "batch_intake.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

#define MAX_OUTPUT 200u
#define MAX_GROUPS 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The header must be good for somebody who never saw the log, and must be of this path. */
static void check_header(const struct bi_group *group)
{
    const struct tc_options options = {.max_output = 1u << 20};
    struct tc_transcoder *reader;
    struct tc_result result;
    struct tc_names names;
    REQUIRE(tc_open(&options, &reader) == 0);
    REQUIRE(tc_batch_header(reader, group->header, group->header_len, &result) == 0);
    tc_schema_names(result.schema, &names);
    REQUIRE(names.path_len == group->path_len && memcmp(names.path, group->path, names.path_len) == 0);
    tc_close(reader);
}

static int is_same_log(const struct bi_group *a, const struct bi_group *b)
{
    return a->path_len == b->path_len && memcmp(a->path, b->path, a->path_len) == 0 &&
           a->sender_len == b->sender_len && memcmp(a->sender, b->sender, a->sender_len) == 0;
}

static uint64_t take(struct bi_intake *intake)
{
    uint64_t rows = 0;
    size_t groups = bi_group_count(intake);
    REQUIRE(groups <= MAX_GROUPS);
    for (size_t i = 0; i < groups; i++) {
        struct bi_group group, other;
        bi_get_group(intake, i, &group);
        REQUIRE(group.rows > 0 && group.path_len > 0 && group.path_len <= 255 && group.sender_len <= 255);
        uint64_t lines = 0;
        for (const uint8_t *line = group.data, *end = line + group.bytes; line < end; lines++) {
            const uint8_t *newline = memchr(line, '\n', (size_t)(end - line));
            REQUIRE(newline != NULL && json_row_check(line, (size_t)(newline - line), NULL) == 0);
            line = newline + 1;
        }
        REQUIRE(lines == group.rows);
        check_header(&group);
        for (size_t j = i; j > 0; j--) {
            bi_get_group(intake, j - 1, &other);
            if (is_same_log(&group, &other)) {
                REQUIRE(other.schema_id != group.schema_id);
                break;
            }
        }
        rows += lines;
    }
    const uint8_t *refused;
    size_t len = bi_get_refused(intake, &refused);
    uint8_t *copy = malloc(len + 1);
    REQUIRE(copy != NULL);
    if (len > 0)
        memcpy(copy, refused, len);
    free(copy);
    bi_reset(intake);
    REQUIRE(bi_has_room(intake) && bi_group_count(intake) == 0 && bi_get_refused(intake, &refused) == 0);
    return rows;
}

static void check_counts(const struct bi_intake *intake, uint64_t messages, uint64_t rows, uint64_t lost)
{
    struct bi_counts counts;
    bi_get_counts(intake, &counts);
    REQUIRE(counts.messages == messages && counts.records == rows && counts.no_memory == lost);
    REQUIRE(counts.messages == counts.accepted + counts.other_filter + counts.bad_frames + counts.bad_format +
                                   counts.bad_path + counts.bad_batch + counts.no_memory);
}

/* In memory of exactly its size, for the address sanitizer. */
static int give(struct bi_intake *intake, const void *data, size_t len, int more)
{
    uint8_t *frame = malloc(len > 0 ? len : 1);
    REQUIRE(frame != NULL);
    if (len > 0)
        memcpy(frame, data, len);
    int error = bi_frame(intake, frame, len, more);
    free(frame);
    return error;
}

/* A frame is one control byte, a length byte, and its data. Control: bit 0 more frames follow, bit 1 end the round first,
 * bit 2 long frame, bit 3 do not look for room, bit 4 the three frames of a log batch go before, with the sender
 * named by bits 5 and 6, bit 7 change the filters. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tc_options options = {.max_output = 1u << 20};
    struct tc_transcoder *transcoder;
    struct bi_intake *intake;
    uint64_t messages = 0, rows = 0, lost = 0;
    int begun = 0;
    REQUIRE(tc_open(&options, &transcoder) == 0);
    REQUIRE(bi_open(transcoder, MAX_OUTPUT, &intake) == 0);
    REQUIRE(bi_accept(intake, (const uint8_t *)"default", 7) == 0);
    while (size >= 2) {
        uint8_t control = data[0];
        size_t len = (size_t)data[1] * ((control & 4) != 0 ? 4 : 1);
        data += 2;
        size -= 2;
        len = len < size ? len : size;
        if (!begun && ((control & 2) != 0 || ((control & 8) == 0 && !bi_has_room(intake))))
            rows += take(intake);
        if ((control & 128) != 0) {
            bi_accept_none(intake);
            REQUIRE(bi_accept(intake, data, len) == 0 && bi_accept(intake, (const uint8_t *)"default", 7) == 0);
        }
        if ((control & 16) != 0) {
            REQUIRE(give(intake, "log-write", 9, 1) == 0);
            REQUIRE(give(intake, "ABCD", 1u + (control >> 5 & 3u), 1) == 0);
            REQUIRE(give(intake, "zeek-bin-serializer", 19, 1) == 0);
            control &= (uint8_t)~1u;
        }
        int error = give(intake, data, len, control & 1);
        begun = control & 1;
        REQUIRE(error == 0 || !begun);
        messages += !begun;
        lost += error != 0;
        data += len;
        size -= len;
    }
    rows += take(intake);
    check_counts(intake, messages, rows, lost);
    bi_close(intake);
    tc_close(transcoder);
    return 0;
}
