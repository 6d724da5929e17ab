#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_row.h"
#include "json_text.h"
#include "tsv.h"

#define MARK_MAX 64
#define COLUMNS_MAX 4096
#define LINE_MAX_BYTES ((size_t)64 << 20)
#define REAL_MAX 64           /* bytes of a number; %.15g and its like print fewer than thirty */
#define EXACT_MANTISSA (UINT64_C(1) << 53)
#define EXACT_POWER 22        /* 10^22 is the last power of ten that is a double */
#define ROOM_FOR_COLUMN 16    /* "[null]" or two quotes, the comma before it, and what one number may need more */
#define ROOM_FOR_LINE 64

struct mark {
    uint8_t text[MARK_MAX];
    size_t len;
};

struct column {
    uint8_t *key;
    size_t key_len;
    enum tsv_type type;
    int is_list;
};

struct tsv_lines {
    struct mark separator, set_separator, empty_field, unset_field;
    size_t max_line, count, keys_len;
    locale_t c_locale; /* strtod() must not follow what some plug-in sets for the process */
    uint8_t *scratch;  /* a cell without its escapes */
    struct column columns[];
};

static const double POWERS[EXACT_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ── opening and closing ── */

int tsv_open(size_t columns, size_t max_line, struct tsv_lines **out)
{
    if (columns > COLUMNS_MAX || max_line < 2 || max_line > LINE_MAX_BYTES)
        return EINVAL;
    struct tsv_lines *lines = calloc(1, sizeof *lines + columns * sizeof lines->columns[0]);
    if (lines == NULL)
        return ENOMEM;
    lines->count = columns;
    lines->max_line = max_line;
    lines->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    lines->scratch = malloc(max_line);
    if (lines->scratch == NULL || lines->c_locale == (locale_t)0) {
        tsv_close(lines);
        return ENOMEM;
    }
    lines->separator = (struct mark){"\t", 1};
    lines->set_separator = (struct mark){",", 1};
    lines->empty_field = (struct mark){"(empty)", 7};
    lines->unset_field = (struct mark){"-", 1};
    *out = lines;
    return 0;
}

void tsv_close(struct tsv_lines *lines)
{
    if (lines == NULL)
        return;
    for (size_t i = 0; i < lines->count; i++)
        free(lines->columns[i].key);
    if (lines->c_locale != (locale_t)0)
        freelocale(lines->c_locale);
    free(lines->scratch);
    free(lines);
}

static int set_mark(struct mark *mark, const uint8_t *text, size_t len, size_t least)
{
    if (len < least || len > MARK_MAX)
        return EINVAL;
    memcpy(mark->text, text, len);
    mark->len = len;
    return 0;
}

int tsv_set_marks(struct tsv_lines *lines, const uint8_t *separator, size_t separator_len,
                  const uint8_t *set_separator, size_t set_separator_len,
                  const uint8_t *empty_field, size_t empty_field_len,
                  const uint8_t *unset_field, size_t unset_field_len)
{
    return set_mark(&lines->separator, separator, separator_len, 1) != 0 ||
                   set_mark(&lines->set_separator, set_separator, set_separator_len, 1) != 0 ||
                   set_mark(&lines->empty_field, empty_field, empty_field_len, 0) != 0 ||
                   set_mark(&lines->unset_field, unset_field, unset_field_len, 0) != 0
               ? EINVAL
               : 0;
}

int tsv_set_column(struct tsv_lines *lines, size_t i, const uint8_t *key, size_t key_len, enum tsv_type type,
                   int is_list)
{
    if (i >= lines->count || key_len == 0 || lines->columns[i].key != NULL)
        return EINVAL;
    struct column *column = &lines->columns[i];
    column->key = malloc(key_len);
    if (column->key == NULL)
        return ENOMEM;
    memcpy(column->key, key, key_len);
    column->key_len = key_len;
    column->type = type;
    column->is_list = is_list;
    lines->keys_len += key_len;
    return 0;
}

/* ── cells ── */

struct text {
    const uint8_t *p;
    const uint8_t *end;
};

static size_t length(struct text text)
{
    return (size_t)(text.end - text.p);
}

static int is(struct text text, const struct mark *mark)
{
    return length(text) == mark->len && memcmp(text.p, mark->text, mark->len) == 0;
}

/* The text up to the mark; the rest is behind it, or NULL if the mark is not there. */
static struct text cut(struct text *rest, const struct mark *mark)
{
    struct text head = *rest;
    const uint8_t *found = mark->len == 1 ? memchr(rest->p, mark->text[0], length(*rest))
                                          : memmem(rest->p, length(*rest), mark->text, mark->len);
    if (found == NULL) {
        rest->p = NULL;
        return head;
    }
    head.end = found;
    rest->p = found + mark->len;
    return head;
}

static int is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static int hex_digit(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct text unescaped(struct text text, uint8_t *scratch)
{
    const uint8_t *p = text.p, *backslash = memchr(p, '\\', length(text));
    if (backslash == NULL)
        return text;
    uint8_t *out = scratch;
    for (; backslash != NULL; backslash = memchr(p, '\\', (size_t)(text.end - p))) {
        memcpy(out, p, (size_t)(backslash - p));
        out += backslash - p;
        p = backslash + 1;
        int high = text.end - p >= 3 && *p == 'x' ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1;
        if (low >= 0) {
            *out++ = (uint8_t)(high << 4 | low);
            p += 3;
        } else {
            *out++ = '\\';
            if (p < text.end && *p == '\\')
                p++;
        }
    }
    memcpy(out, p, (size_t)(text.end - p));
    return (struct text){scratch, out + (text.end - p)};
}

static uint8_t *put(uint8_t *out, const void *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

static uint8_t *put_string(struct tsv_lines *lines, struct text text, uint8_t *out)
{
    text = unescaped(text, lines->scratch);
    *out++ = '"';
    out = json_text_plain(out, &text.p, text.end);
    if (text.p < text.end) {
        enum json_text_care care = json_text_inspect(text.p, text.end, JSON_TEXT_HEX);
        out = json_text_escaped(out, &text.p, text.end, text.end, JSON_TEXT_HEX, care);
    }
    *out++ = '"';
    return out;
}

static uint8_t *put_bool(struct text text, uint8_t *out)
{
    if (length(text) != 1 || (*text.p != 'T' && *text.p != 'F'))
        return NULL;
    return *text.p == 'T' ? put(out, "true", 4) : put(out, "false", 5);
}

static uint8_t *put_whole(struct text text, uint64_t max, int may_be_negative, uint8_t *out)
{
    uint64_t value = 0;
    int negative = may_be_negative && text.p < text.end && *text.p == '-';
    if (negative) {
        text.p++;
        max++;
    }
    if (text.p == text.end)
        return NULL;
    for (; text.p < text.end; text.p++) {
        uint64_t digit = (uint64_t)*text.p - '0';
        if (!is_digit(*text.p) || value > (max - digit) / 10)
            return NULL;
        value = value * 10 + digit;
    }
    if (negative && value != 0)
        *out++ = '-';
    return json_text_u64(out, value);
}

/* Digits into *mantissa as long as they fit, all of them counted. */
static const uint8_t *read_digits(struct text text, uint64_t *mantissa, int *exact, int *count)
{
    const uint8_t *p = text.p;
    for (; p < text.end && is_digit(*p); p++) {
        if (*mantissa > (UINT64_MAX - 9) / 10)
            *exact = 0;
        else
            *mantissa = *mantissa * 10 + (uint64_t)(*p - '0');
    }
    *count = (int)(p - text.p);
    return p;
}

static int is_word(struct text text, const char *word)
{
    return length(text) == 3 && memcmp(text.p, word, 3) == 0;
}

/* Zeek's two forms, "%.6f" and "%.15g", with nan and inf. A short number is an exact quotient of two doubles and needs
 * no strtod(): that is every time stamp before the year 2255. */
static uint8_t *put_real(struct tsv_lines *lines, struct text text, uint8_t *out)
{
    uint64_t mantissa = 0;
    int exact = 1, whole = 0, places = 0, exponent = 0;
    struct text digits = text;
    if (length(text) > REAL_MAX - 1 || text.p == text.end)
        return NULL;
    int negative = *text.p == '-';
    digits.p += negative;
    if (is_word(digits, "nan") || is_word(digits, "inf"))
        return put(out, "null", 4);
    digits.p = read_digits(digits, &mantissa, &exact, &whole);
    if (digits.p < digits.end && *digits.p == '.') {
        digits.p++;
        digits.p = read_digits(digits, &mantissa, &exact, &places);
    }
    if (whole == 0)
        return NULL;
    if (digits.p < digits.end && *digits.p == 'e') {
        exact = 0;
        digits.p++;
        if (digits.p < digits.end && (*digits.p == '-' || *digits.p == '+'))
            digits.p++;
        uint64_t value = 0;
        int fits = 1;
        digits.p = read_digits(digits, &value, &fits, &exponent);
        if (exponent == 0)
            return NULL;
    }
    if (digits.p != digits.end)
        return NULL;
    if (exact && mantissa <= EXACT_MANTISSA && places <= EXACT_POWER) {
        double value = (double)mantissa / POWERS[places];
        return json_text_double(out, negative ? -value : value);
    }
    char copy[REAL_MAX];
    memcpy(copy, text.p, length(text));
    copy[length(text)] = 0;
    return json_text_double(out, strtod_l(copy, NULL, lines->c_locale));
}

static uint8_t *put_address(struct text text, uint8_t *out)
{
    *out++ = '"';
    if (text.p == text.end)
        return NULL;
    for (; text.p < text.end; text.p++) {
        uint8_t c = *text.p;
        if (hex_digit(c) < 0 && c != '.' && c != ':' && c != '/')
            return NULL;
        *out++ = c;
    }
    *out++ = '"';
    return out;
}

static uint8_t *put_scalar(struct tsv_lines *lines, enum tsv_type type, struct text text, uint8_t *out)
{
    switch (type) {
    case TSV_BOOL:
        return put_bool(text, out);
    case TSV_INT:
        return put_whole(text, INT64_MAX, 1, out);
    case TSV_COUNT:
        return put_whole(text, UINT64_MAX, 0, out);
    case TSV_PORT:
        return put_whole(text, 65535, 0, out);
    case TSV_REAL:
        return put_real(lines, text, out);
    case TSV_ADDRESS:
        return put_address(text, out);
    case TSV_STRING:
    default:
        if (is(text, &lines->empty_field))
            text.end = text.p;
        return put_string(lines, text, out);
    }
}

static uint8_t *put_list(struct tsv_lines *lines, enum tsv_type type, struct text text, uint8_t *out)
{
    *out++ = '[';
    if (text.p == text.end || is(text, &lines->empty_field))
        text.p = NULL;
    while (text.p != NULL) {
        struct text element = cut(&text, &lines->set_separator);
        if (is(element, &lines->unset_field))
            out = put(out, "null", 4);
        else
            out = put_scalar(lines, type, element, out);
        if (out == NULL)
            return NULL;
        if (text.p != NULL)
            *out++ = ',';
    }
    *out++ = ']';
    return out;
}

/* ── lines ── */

/* One row without its newline, or NULL with fault and column set. */
static uint8_t *put_row(struct tsv_lines *lines, struct text rest, uint8_t *out, struct tsv_step *step)
{
    uint8_t *start = out;
    for (size_t i = 0; i < lines->count; i++) {
        const struct column *column = &lines->columns[i];
        if (rest.p == NULL) {
            step->fault = TSV_FAULT_COLUMNS;
            step->column = i;
            return NULL;
        }
        struct text cell = cut(&rest, &lines->separator);
        if (is(cell, &lines->unset_field))
            continue;
        *out++ = ',';
        out = put(out, column->key, column->key_len);
        out = column->is_list ? put_list(lines, column->type, cell, out) : put_scalar(lines, column->type, cell, out);
        if (out == NULL) {
            step->fault = TSV_FAULT_VALUE;
            step->column = i;
            return NULL;
        }
    }
    if (rest.p != NULL) {
        step->fault = TSV_FAULT_COLUMNS;
        step->column = lines->count + 1;
        return NULL;
    }
    if (out == start)
        *out++ = '{';
    else
        *start = '{';
    *out++ = '}';
    return out;
}

static uint8_t *copy_row(struct text line, uint8_t *out, struct tsv_step *step)
{
    if (json_row_check(line.p, length(line), NULL) != 0) {
        step->fault = TSV_FAULT_JSON;
        return NULL;
    }
    return put(out, line.p, length(line));
}

static size_t room_for(const struct tsv_lines *lines, size_t len)
{
    if (lines->count == 0)
        return len + 1;
    return JSON_TEXT_ESCAPED * len + lines->keys_len + ROOM_FOR_COLUMN * lines->count + JSON_TEXT_SLACK + ROOM_FOR_LINE;
}

void tsv_convert(struct tsv_lines *lines, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                 struct tsv_step *step)
{
    const uint8_t *p = data, *end = data + len;
    uint8_t *at = out;
    memset(step, 0, sizeof *step);
    for (;;) {
        const uint8_t *newline = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (newline == NULL)
            break;
        if (*p == '#') {
            step->stop = TSV_STOP_DIRECTIVE;
            break;
        }
        struct text line = {p, newline > p && newline[-1] == '\r' ? newline - 1 : newline};
        uint8_t *behind = NULL;
        if (length(line) > lines->max_line) {
            step->fault = TSV_FAULT_LARGE;
            step->large++;
        } else {
            size_t room = room_for(lines, length(line));
            if (cap - (size_t)(at - out) < room) {
                step->stop = TSV_STOP_FULL;
                step->room = room;
                break;
            }
            behind = lines->count == 0 ? copy_row(line, at, step) : put_row(lines, line, at, step);
            step->bad += behind == NULL;
        }
        if (behind != NULL) {
            *behind = '\n';
            at = behind + 1;
            step->rows++;
        } else {
            step->refused_at = (size_t)(p - data);
            step->refused_len = length(line);
        }
        p = newline + 1;
    }
    step->consumed = (size_t)(p - data);
    step->written = (size_t)(at - out);
}
