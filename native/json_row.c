#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "json_row.h"

#define EACH_BYTE UINT64_C(0x0101010101010101)

_Static_assert(JSON_ROW_DEPTH <= 64, "the kinds of the open containers are the bits of one word");

enum mark { MARK_NONE, MARK_NODE, MARK_SEQ };
enum step { STEP_MORE, STEP_DONE, STEP_BROKEN };

struct scan {
    const uint8_t *p;
    const uint8_t *end;
    uint64_t kinds; /* one bit for each open container, the innermost lowest: 1 for an object, 0 for an array */
    unsigned depth;
    enum mark mark; /* what the member being read is, if it is one of the marks */
    struct json_row_marks found;
};

static const uint8_t *skip_spaces(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p == ' ')
        p++;
    return p;
}

static int is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static int is_hex(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return is_digit(c) || (lower >= 'a' && lower <= 'f');
}

/* To the first byte that is a quote, a backslash, a control character or not ASCII. Eight at a time: subtracting
 * borrows into the top bit of exactly those bytes, at least up to the lowest hit, which is all that is looked at. */
static const uint8_t *skip_plain(const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        uint64_t quote = (word ^ (EACH_BYTE * '"')) - EACH_BYTE;
        uint64_t backslash = (word ^ (EACH_BYTE * '\\')) - EACH_BYTE;
        uint64_t control = word - EACH_BYTE * 0x20;
        uint64_t hits = (word | quote | backslash | control) & (EACH_BYTE * 0x80);
        if (hits != 0)
            return p + (__builtin_ctzll(hits) >> 3);
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* One character of two to four bytes, RFC 3629 section 4. */
static const uint8_t *skip_utf8(const uint8_t *p, const uint8_t *end)
{
    uint8_t lead = *p, low = 0x80, high = 0xbf;
    ptrdiff_t more;
    if (lead < 0xc2 || lead > 0xf4)
        return NULL;
    if (lead < 0xe0) {
        more = 1;
    } else if (lead < 0xf0) {
        more = 2;
        if (lead == 0xe0)
            low = 0xa0;
        else if (lead == 0xed)
            high = 0x9f;
    } else {
        more = 3;
        if (lead == 0xf0)
            low = 0x90;
        else if (lead == 0xf4)
            high = 0x8f;
    }
    if (end - p <= more || p[1] < low || p[1] > high)
        return NULL;
    for (ptrdiff_t i = 2; i <= more; i++)
        if ((p[i] & 0xc0) != 0x80)
            return NULL;
    return p + more + 1;
}

/* p is behind the backslash. A lone surrogate is legal here: the grammar of RFC 8259 section 7 allows it. */
static const uint8_t *skip_escape(const uint8_t *p, const uint8_t *end)
{
    if (p == end)
        return NULL;
    switch (*p) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return p + 1;
    case 'u':
        if (end - p < 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]))
            return NULL;
        return p + 5;
    default:
        return NULL;
    }
}

/* p is behind the opening quote; the result is behind the closing one. */
static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end, int *escaped)
{
    *escaped = 0;
    for (;;) {
        p = skip_plain(p, end);
        if (p == end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            *escaped = 1;
            p = skip_escape(p + 1, end);
        } else if (*p >= 0x80) {
            do
                p = skip_utf8(p, end);
            while (p != NULL && p < end && *p >= 0x80);
        } else {
            return NULL;
        }
        if (p == NULL)
            return NULL;
    }
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    if (p == end || !is_digit(*p))
        return NULL;
    do
        p++;
    while (p < end && is_digit(*p));
    return p;
}

static const uint8_t *skip_number(const uint8_t *p, const uint8_t *end)
{
    if (*p == '-')
        p++;
    if (p < end && *p == '0')
        p++;
    else if ((p = skip_digits(p, end)) == NULL)
        return NULL;
    if (p < end && *p == '.' && (p = skip_digits(p + 1, end)) == NULL)
        return NULL;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const uint8_t *skip_word(const uint8_t *p, const uint8_t *end, const char *word, size_t len)
{
    return (size_t)(end - p) >= len && memcmp(p, word, len) == 0 ? p + len : NULL;
}

static const uint8_t *skip_scalar(const uint8_t *p, const uint8_t *end, int *escaped)
{
    switch (*p) {
    case '"':
        return skip_string(p + 1, end, escaped);
    case 't':
        return skip_word(p, end, "true", 4);
    case 'f':
        return skip_word(p, end, "false", 5);
    case 'n':
        return skip_word(p, end, "null", 4);
    default:
        return skip_number(p, end);
    }
}

/* A repeated member counts by its last appearance, as in most readers: the earlier find is forgotten here. */
static void begin_mark(struct scan *s, const uint8_t *key, size_t len)
{
    if (len == 5 && memcmp(key, "_node", 5) == 0) {
        s->mark = MARK_NODE;
        s->found.node = NULL;
        s->found.node_len = 0;
    } else if (len == 4 && memcmp(key, "_seq", 4) == 0) {
        s->mark = MARK_SEQ;
        s->found.has_seq = 0;
        s->found.seq = 0;
    }
}

static void end_mark(struct scan *s, const uint8_t *value, const uint8_t *end, int escaped)
{
    if (s->mark == MARK_NODE && *value == '"' && !escaped) {
        s->found.node = value + 1;
        s->found.node_len = (size_t)(end - value) - 2;
    } else if (s->mark == MARK_SEQ) {
        uint64_t seq = 0;
        for (const uint8_t *p = value; p < end; p++) {
            uint64_t digit = (uint64_t)*p - '0';
            if (!is_digit(*p) || seq > (UINT64_MAX - digit) / 10)
                return;
            seq = seq * 10 + digit;
        }
        s->found.seq = seq;
        s->found.has_seq = 1;
    }
}

static int read_key(struct scan *s)
{
    int escaped;
    if (s->p == s->end || *s->p != '"')
        return 0;
    const uint8_t *key = s->p + 1;
    const uint8_t *p = skip_string(key, s->end, &escaped);
    if (p == NULL)
        return 0;
    s->mark = MARK_NONE;
    if (s->depth == 1)
        begin_mark(s, key, (size_t)(p - key) - 1);
    p = skip_spaces(p, s->end);
    if (p == s->end || *p != ':')
        return 0;
    s->p = skip_spaces(p + 1, s->end);
    return 1;
}

/* Behind a value, or in a container that may be empty: close what ends here. */
static enum step end_value(struct scan *s)
{
    while (s->depth > 0) {
        s->p = skip_spaces(s->p, s->end);
        if (s->p == s->end)
            return STEP_BROKEN;
        uint8_t c = *s->p++;
        if (c == ',') {
            s->p = skip_spaces(s->p, s->end);
            return STEP_MORE;
        }
        if (c != ((s->kinds & 1) != 0 ? '}' : ']'))
            return STEP_BROKEN;
        s->kinds >>= 1;
        s->depth--;
    }
    return skip_spaces(s->p, s->end) == s->end ? STEP_DONE : STEP_BROKEN;
}

/* p is at the opening bracket. */
static enum step open_container(struct scan *s)
{
    uint8_t opening = *s->p;
    if (s->depth == JSON_ROW_DEPTH)
        return STEP_BROKEN;
    s->kinds = s->kinds << 1 | (opening == '{');
    s->depth++;
    s->mark = MARK_NONE;
    s->p = skip_spaces(s->p + 1, s->end);
    if (s->p < s->end && *s->p == (opening == '{' ? '}' : ']'))
        return end_value(s);
    return STEP_MORE;
}

/* One member or element with what it closes. */
static enum step read_member(struct scan *s)
{
    int escaped = 0;
    if ((s->kinds & 1) != 0 && !read_key(s))
        return STEP_BROKEN;
    if (s->p == s->end)
        return STEP_BROKEN;
    if (*s->p == '{' || *s->p == '[')
        return open_container(s);
    const uint8_t *value = s->p;
    const uint8_t *p = skip_scalar(value, s->end, &escaped);
    if (p == NULL)
        return STEP_BROKEN;
    if (s->mark != MARK_NONE && s->depth == 1)
        end_mark(s, value, p, escaped);
    s->p = p;
    return end_value(s);
}

int json_row_check(const uint8_t *row, size_t len, struct json_row_marks *marks)
{
    if (len == 0)
        return EBADMSG;
    struct scan s = {.end = row + len};
    s.p = skip_spaces(row, s.end);
    if (s.p == s.end || *s.p != '{')
        return EBADMSG;
    enum step step = open_container(&s);
    while (step == STEP_MORE)
        step = read_member(&s);
    if (step == STEP_BROKEN)
        return EBADMSG;
    if (marks != NULL)
        *marks = s.found;
    return 0;
}
