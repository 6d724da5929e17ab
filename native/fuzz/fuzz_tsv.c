#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_row.h"
#include "tsv.h"

#define COLUMNS 6
#define TYPES 7
#define MAX_LINE 200

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const MARKS[][4] = {
    {"\t", ",", "(empty)", "-"}, {"|", ";", "", "-"}, {"::", ",,", "E", ""}, {",", ",", "-", "-"}};

static struct tsv_lines *open_lines(const uint8_t *setup)
{
    struct tsv_lines *lines;
    size_t columns = setup[0] % (COLUMNS + 1);
    const char *const *marks = MARKS[setup[0] / (COLUMNS + 1) % 4];
    REQUIRE(tsv_open(columns, MAX_LINE, &lines) == 0);
    REQUIRE(tsv_set_marks(lines, (const uint8_t *)marks[0], strlen(marks[0]), (const uint8_t *)marks[1],
                          strlen(marks[1]), (const uint8_t *)marks[2], strlen(marks[2]), (const uint8_t *)marks[3],
                          strlen(marks[3])) == 0);
    for (size_t i = 0; i < columns; i++) {
        uint8_t key[] = "\"k0\":";
        key[2] = (uint8_t)('0' + i);
        REQUIRE(tsv_set_column(lines, i, key, 5, (enum tsv_type)(setup[1 + i] % TYPES), setup[1 + i] >= 128) == 0);
    }
    return lines;
}

/* Every row is one, and every line is accounted for. Memory has exactly the size that is told, for the sanitizer. */
static void check(const struct tsv_step *step, const uint8_t *in, size_t len, const uint8_t *out)
{
    uint64_t lines = 0, rows = 0;
    REQUIRE(step->consumed <= len && (step->consumed == 0 || in[step->consumed - 1] == '\n'));
    for (size_t i = 0; i < step->consumed; i++)
        lines += in[i] == '\n';
    for (size_t start = 0; start < step->written; rows++) {
        const uint8_t *newline = memchr(out + start, '\n', step->written - start);
        REQUIRE(newline != NULL);
        size_t end = (size_t)(newline - out);
        REQUIRE(json_row_check(out + start, end - start, NULL) == 0);
        start = end + 1;
    }
    REQUIRE(rows == step->rows && lines == step->rows + step->bad + step->large);
    REQUIRE((step->fault != TSV_FAULT_NONE) == (step->bad + step->large > 0));
    if (step->fault != TSV_FAULT_NONE)
        REQUIRE(step->refused_at + step->refused_len < step->consumed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 + COLUMNS)
        return 0;
    struct tsv_lines *lines = open_lines(data);
    size_t cap = (size_t)data[1 + COLUMNS] * 16, len = size - 2 - COLUMNS;
    uint8_t *in = malloc(len), *out = malloc(cap);
    REQUIRE((in != NULL || len == 0) && (out != NULL || cap == 0));
    if (len > 0)
        memcpy(in, data + 2 + COLUMNS, len);
    for (size_t at = 0;;) {
        struct tsv_step step;
        uint8_t *rest = malloc(len - at);
        REQUIRE(rest != NULL || len == at);
        if (len > at)
            memcpy(rest, in + at, len - at);
        tsv_convert(lines, rest, len - at, out, cap, &step);
        check(&step, rest, len - at, out);
        at += step.consumed;
        if (step.stop == TSV_STOP_DIRECTIVE) {
            REQUIRE(rest[step.consumed] == '#');
            at += (size_t)((uint8_t *)memchr(rest + step.consumed, '\n', len - at) - (rest + step.consumed)) + 1;
        } else if (step.stop == TSV_STOP_FULL) {
            REQUIRE(step.room > 0 && (step.consumed > 0 || step.room > cap));
            if (step.room > cap) {
                cap = step.room;
                free(out);
                out = malloc(cap);
                REQUIRE(out != NULL);
            }
        } else {
            REQUIRE(len == at || memchr(in + at, '\n', len - at) == NULL);
            free(rest);
            break;
        }
        free(rest);
    }
    free(in);
    free(out);
    tsv_close(lines);
    return 0;
}
