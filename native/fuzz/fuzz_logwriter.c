#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_row.h"
#include "logwriter.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Copy every group to memory of exactly its size, whose lines must be rows again. Returns the rows. */
static uint64_t take(struct lw_intake *intake)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < lw_group_count(intake); i++) {
        struct lw_group group;
        lw_group(intake, i, &group);
        REQUIRE(group.rows > 0 && group.path_len > 0 && group.path_len <= 255);
        uint8_t *copy = malloc(group.bytes), *end = copy + group.bytes;
        REQUIRE(copy != NULL);
        lw_copy_group(intake, i, copy);
        uint64_t lines = 0;
        for (uint8_t *line = copy; line < end; lines++) {
            struct json_row_marks marks;
            uint8_t *newline = memchr(line, '\n', (size_t)(end - line));
            REQUIRE(newline != NULL && json_row_check(line, (size_t)(newline - line), &marks) == 0);
            REQUIRE(marks.node_len == group.node_len);
            REQUIRE(group.node_len == 0 || memcmp(marks.node, group.node, group.node_len) == 0);
            line = newline + 1;
        }
        REQUIRE(lines == group.rows);
        rows += lines;
        free(copy);
    }
    lw_reset(intake);
    return rows;
}

static void check_counts(const struct lw_intake *intake, uint64_t messages, uint64_t rows)
{
    struct lw_counts counts;
    lw_get_counts(intake, &counts);
    REQUIRE(counts.messages == messages && counts.accepted == rows);
    REQUIRE(counts.messages ==
            counts.accepted + counts.bad_frames + counts.bad_path + counts.too_large + counts.bad_json);
    REQUIRE(lw_sequence_count(intake) <= 4);
    for (size_t i = 0; i < lw_sequence_count(intake); i++) {
        struct lw_sequence sequence;
        lw_get_sequence(intake, i, &sequence);
        REQUIRE(sequence.path_len > 0 && sequence.path_len <= 255 && sequence.node_len <= 255);
    }
    uint8_t refused[16];
    REQUIRE(lw_last_refused(intake, refused, sizeof refused) <= sizeof refused);
}

/* A frame is one control byte, a length byte (times four if the control byte says so), and its data. Control: bit 0
 * more frames follow, bit 1 end the round first, bit 2 long frame, bit 3 do not look for room. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lw_intake *intake;
    uint64_t messages = 0, accepted = 0, rows = 0;
    int begun = 0;
    REQUIRE(lw_open(120, 6, 0, 4, &intake) == 0);
    while (size >= 2) {
        uint8_t control = data[0];
        size_t len = (size_t)data[1] * ((control & 4) != 0 ? 4 : 1);
        data += 2;
        size -= 2;
        len = len < size ? len : size;
        if ((control & 2) != 0 || (!begun && (control & 8) == 0 && !lw_has_room(intake)))
            rows += take(intake);
        uint8_t *frame = malloc(len > 0 ? len : 1);
        REQUIRE(frame != NULL);
        memcpy(frame, data, len);
        int result = lw_frame(intake, frame, len, control & 1);
        free(frame);
        begun = control & 1;
        REQUIRE(result == 0 || !begun);
        messages += !begun;
        accepted += result == 1;
        data += len;
        size -= len;
    }
    rows += take(intake);
    REQUIRE(rows == accepted);
    check_counts(intake, messages, accepted);
    lw_close(intake);
    return 0;
}
