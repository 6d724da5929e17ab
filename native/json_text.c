#define _DEFAULT_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "json_text.h"

#define EACH_BYTE UINT64_C(0x0101010101010101)
#define HIGH_BITS UINT64_C(0x8080808080808080)
#define DAY_SECONDS 86400

static const char PAIRS[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";
static const char LOWER_HEX[] = "0123456789abcdef";
static const char UPPER_HEX[] = "0123456789ABCDEF";

static uint8_t *put(uint8_t *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

static uint8_t *put_pair(uint8_t *out, unsigned value)
{
    return put(out, PAIRS + value * 2, 2);
}

/* 0 to 9999, without leading zeros. */
static uint8_t *put_small(uint8_t *out, unsigned value)
{
    if (value >= 100) {
        if (value >= 1000) {
            out = put_pair(out, value / 100);
        } else {
            *out++ = (uint8_t)('0' + value / 100);
        }
        return put_pair(out, value % 100);
    }
    if (value >= 10)
        return put_pair(out, value);
    *out++ = (uint8_t)('0' + value);
    return out;
}

uint8_t *json_text_u64(uint8_t *out, uint64_t value)
{
    uint8_t text[JSON_TEXT_U64], *start = text + sizeof text;
    if (value < 10000)
        return put_small(out, (unsigned)value);
    while (value >= 100) {
        start -= 2;
        put_pair(start, (unsigned)(value % 100));
        value /= 100;
    }
    out = put_small(out, (unsigned)value);
    size_t len = (size_t)(text + sizeof text - start);
    memcpy(out, start, len);
    return out + len;
}

uint8_t *json_text_i64(uint8_t *out, int64_t value)
{
    if (value >= 0)
        return json_text_u64(out, (uint64_t)value);
    *out++ = '-';
    return json_text_u64(out, UINT64_C(0) - (uint64_t)value);
}

static uint8_t *put_dotted(uint8_t *out, const uint8_t *address)
{
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            *out++ = '.';
        out = put_small(out, address[i]);
    }
    return out;
}

/* The longest run of zero words, the first of equals, if it has two or more. */
static void find_zeros(const unsigned *words, int *first, int *count)
{
    *first = -1;
    *count = 1;
    for (int i = 0, run = 0; i < 8; i++) {
        run = words[i] == 0 ? run + 1 : 0;
        if (run > *count) {
            *count = run;
            *first = i - run + 1;
        }
    }
}

/* ::1.2.3.4, ::ffff:1.2.3.4, ::ffff:0:1.2.3.4 */
static int ends_in_dots(const unsigned *words, int zeros)
{
    return zeros == 6 || (zeros == 5 && words[5] == 0xffff) || (zeros == 4 && words[4] == 0xffff && words[5] == 0);
}

static uint8_t *put_hex_word(uint8_t *out, unsigned word)
{
    int shift = word >= 0x1000 ? 12 : word >= 0x100 ? 8 : word >= 0x10 ? 4 : 0;
    for (; shift >= 0; shift -= 4)
        *out++ = (uint8_t)LOWER_HEX[word >> shift & 15];
    return out;
}

uint8_t *json_text_address(uint8_t *out, const uint8_t *address, int is_ipv6)
{
    unsigned words[8];
    int first, count;
    if (!is_ipv6)
        return put_dotted(out, address);
    for (int i = 0; i < 8; i++)
        words[i] = (unsigned)address[i * 2] << 8 | address[i * 2 + 1];
    find_zeros(words, &first, &count);
    for (int i = 0; i < 8; i++) {
        if (first >= 0 && i >= first && i < first + count) {
            if (i == first)
                *out++ = ':';
            continue;
        }
        if (i > 0)
            *out++ = ':';
        if (i == 6 && first == 0 && ends_in_dots(words, count))
            return put_dotted(out, address + 12);
        out = put_hex_word(out, words[i]);
    }
    if (first >= 0 && first + count == 8)
        *out++ = ':';
    return out;
}

/* The day of the proleptic Gregorian calendar, by whole 400-year cycles that begin in March. For years 1000 to 9999;
 * strftime(3) does the others, which no sensor means. */
static int calendar(int64_t second, uint8_t *out)
{
    int64_t day = second / DAY_SECONDS - (second % DAY_SECONDS < 0);
    unsigned rest = (unsigned)(second - day * DAY_SECONDS);
    if (day < -354285 || day > 2932896) /* 1000-01-01, 9999-12-31 */
        return 0;
    unsigned since = (unsigned)(day + 719468), cycle = since / 146097, in_cycle = since % 146097;
    unsigned year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    unsigned in_year = in_cycle - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * in_year + 2) / 153, date = in_year - (153 * month + 2) / 5 + 1;
    year += cycle * 400 + (month >= 10);
    month = month >= 10 ? month - 9 : month + 3;
    put_pair(out, year / 100);
    put_pair(out + 2, year % 100);
    put_pair(out + 5, month);
    put_pair(out + 8, date);
    put_pair(out + 11, rest / 3600);
    put_pair(out + 14, rest / 60 % 60);
    put_pair(out + 17, rest % 60);
    out[4] = out[7] = '-';
    out[10] = 'T';
    out[13] = out[16] = ':';
    return 1;
}

static void set_clock(struct json_text_clock *clock, int64_t second)
{
    struct tm parts;
    time_t time = (time_t)second;
    clock->second = second;
    if (calendar(second, clock->text))
        clock->len = 19;
    else if (gmtime_r(&time, &parts) != NULL)
        clock->len = strftime((char *)clock->text, sizeof clock->text, "%Y-%m-%dT%H:%M:%S", &parts);
    else
        clock->len = 0;
}

uint8_t *json_text_iso8601(uint8_t *out, double seconds, struct json_text_clock *clock)
{
    if (!(seconds > -9e18 && seconds < 9e18))
        return put(out, "\"2000-01-01T00:00:00.000000\"", 28);
    int64_t second = (int64_t)seconds;
    double fraction = seconds - (double)second;
    if (fraction < 0) {
        fraction += 1;
        second--;
    }
    if (clock->len == 0 || clock->second != second)
        set_clock(clock, second);
    if (clock->len == 0)
        return put(out, "\"2000-01-01T00:00:00.000000\"", 28);

    double micros = fraction * 1000000;
    uint64_t rounded = (uint64_t)micros;
    double rest = micros - (double)rounded;
    if (rest > 0.5 || (rest >= 0.5 && rounded % 2 != 0)) /* half to even, as printf(3) does */
        rounded++;
    *out++ = '"';
    memcpy(out, clock->text, clock->len);
    out += clock->len;
    *out++ = '.';
    if (rounded == 1000000) {
        out = put(out, "1000000", 7);
    } else {
        unsigned value = (unsigned)rounded;
        out = put_pair(put_pair(put_pair(out, value / 10000), value / 100 % 100), value % 100);
    }
    return put(out, "Z\"", 2);
}

static int is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* High bits where a byte of word is not plain; those above the lowest may be wrong. */
static uint64_t not_plain(uint64_t word)
{
    uint64_t quote = word ^ EACH_BYTE * '"', backslash = word ^ EACH_BYTE * '\\';
    return (word | (word - EACH_BYTE * 0x20) | (quote - EACH_BYTE) | (backslash - EACH_BYTE) | (word + EACH_BYTE)) &
           HIGH_BITS;
}

uint8_t *json_text_plain(uint8_t *out, const uint8_t **text, const uint8_t *end)
{
    const uint8_t *p = *text;
    uint64_t word;
    for (; end - p >= 8; p += 8, out += 8) {
        memcpy(&word, p, 8);
        if (not_plain(word))
            break;
        memcpy(out, &word, 8);
    }
    while (p < end && is_plain(*p))
        *out++ = *p++;
    *text = p;
    return out;
}

/* Whether ASCII control characters are written as \u00NN, or just taken. */
static int takes_controls(enum json_text_policy policy)
{
    return policy == JSON_TEXT_CONTROLS || policy == JSON_TEXT_NAME;
}

/* The length of the good UTF-8 sequence that starts at p with a byte outside of ASCII, 0 if there is none. */
static size_t good_sequence(const uint8_t *p, const uint8_t *end, enum json_text_policy policy)
{
    size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] < 0xc2 || p[0] > 0xf4 || (size_t)(end - p) < len)
        return 0;
    uint32_t code = p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    if ((len == 3 && code < 0x800) || (len == 4 && (code < 0x10000 || code > 0x10ffff)))
        return 0;
    if (code >= 0xd800 && code <= 0xdfff)
        return 0;
    if (policy == JSON_TEXT_NAME)
        return len;
    return code < 0xa0 || (code >= 0xe000 && code <= 0xf8ff) || (code >= 0xfff0 && code <= 0xffff) ? 0 : len;
}

/* The letter of the two-character JSON escape, 0 if there is none. */
static uint8_t short_escape(uint8_t c)
{
    switch (c) {
    case '\b':
        return 'b';
    case '\t':
        return 't';
    case '\n':
        return 'n';
    case '\f':
        return 'f';
    case '\r':
        return 'r';
    case '"':
    case '\\':
        return c;
    default:
        return 0;
    }
}

enum json_text_care json_text_inspect(const uint8_t *text, const uint8_t *end, enum json_text_policy policy)
{
    while (text < end) {
        if (is_plain(*text) || short_escape(*text) || (*text < 0x80 && takes_controls(policy))) {
            text++;
            continue;
        }
        size_t len = *text < 0x80 ? 0 : good_sequence(text, end, policy);
        if (len == 0)
            return JSON_TEXT_BAD;
        text += len;
    }
    return JSON_TEXT_GOOD;
}

static uint8_t *put_hex(uint8_t *out, const char *before, size_t len, const char *digits, uint8_t c)
{
    out = put(out, before, len);
    *out++ = (uint8_t)digits[c >> 4];
    *out++ = (uint8_t)digits[c & 15];
    return out;
}

uint8_t *json_text_escaped(uint8_t *out, const uint8_t **text, const uint8_t *stop, const uint8_t *end,
                           enum json_text_policy policy, enum json_text_care care)
{
    const uint8_t *p = *text;
    while (p < stop) {
        uint8_t c = *p, letter = short_escape(c);
        size_t len = 1;
        if (letter != 0) {
            *out++ = '\\';
            *out++ = letter;
        } else if (is_plain(c) || (c == 0x7f && takes_controls(policy))) {
            *out++ = c;
        } else if (c < 0x20 && takes_controls(policy)) {
            out = put_hex(out, "\\u00", 4, UPPER_HEX, c);
        } else if (policy == JSON_TEXT_PRIVATE) {
            len = c < 0x80 ? 0 : good_sequence(p, end, policy);
            if (len > 0)
                out = put(out, (const char *)p, len);
            else
                out = put_hex(out, "\\udb80\\udc", 10, LOWER_HEX, c);
            len += len == 0;
        } else if (care == JSON_TEXT_BAD) {
            out = put_hex(out, "\\\\x", 3, LOWER_HEX, c);
        } else {
            *out++ = c;
        }
        p += len;
    }
    *text = p;
    return out;
}
