/* Values as JSON text, character for character as Zeek's JSON log writer prints them.
 *
 * Internal to the C module, not for Python. Every function writes at out and returns the place behind what it wrote; the
 * caller has seen to the room. Nothing allocates, nothing blocks; safe from any thread.
 */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Room that the functions need. */
#define JSON_TEXT_U64 20
#define JSON_TEXT_I64 20
#define JSON_TEXT_DOUBLE 25
#define JSON_TEXT_ADDRESS 48 /* "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255" */
#define JSON_TEXT_TIME 64
#define JSON_TEXT_SLACK 8       /* json_text_plain() may write this much behind its end */
#define JSON_TEXT_ESCAPED 12    /* for one byte of a string */

/* What becomes of bytes that JSON cannot hold as they are. The five control characters \b \f \n \r \t, the quote and the
 * backslash have their JSON escapes everywhere. See util::escape_utf8() and JSON::BuildJSON() of the Zeek versions. */
enum json_text_policy {
    /* Zeek up to 8.0 and from 8.2 on. A string with a byte that is neither printable ASCII, nor one of the five, nor
     * part of good UTF-8, has each byte outside of ASCII and each other control character written as \\xNN, good UTF-8
     * included. Not good are C1 controls, U+E000 to U+F8FF and U+FFF0 to U+FFFF. */
    JSON_TEXT_HEX,
    /* Zeek 8.1. As above, but control characters are \u00NN, DEL stays, and neither counts as bad. */
    JSON_TEXT_CONTROLS,
    /* Zeek 9.0 by choice, for strings only. Each bad byte by itself as the surrogate pair \udb80\udcNN. */
    JSON_TEXT_PRIVATE,
    /* Names of columns, which Zeek does not look into: as JSON_TEXT_CONTROLS, but any well-formed UTF-8 is good. What is
     * not well-formed Zeek writes as it is; here it is escaped, so that the line is JSON. */
    JSON_TEXT_NAME,
};

/* How a string has to be written. */
enum json_text_care {
    JSON_TEXT_GOOD,  /* it has no bad byte */
    JSON_TEXT_BAD,
};

uint8_t *json_text_u64(uint8_t *out, uint64_t value);
uint8_t *json_text_i64(uint8_t *out, int64_t value);

/* The digits of Grisu2 (F. Loitsch, PLDI 2010) with powers of ten in steps of 10^8, laid out as 0.0, -0.0, 1e-7, 1.5e30,
 * 12340.0; null for an infinity or no number. Reads back as the same double always. One double in a
 * hundred does not get the shortest or closest digits: 1e23 is 9.999999999999999e22. */
uint8_t *json_text_double(uint8_t *out, double value);

/* IPv4 (4 bytes) or IPv6 (16 bytes) as inet_ntop() prints it; ::ffff:0:1.2.3.4 ends in dots, too. Without quotes. */
uint8_t *json_text_address(uint8_t *out, const uint8_t *address, int is_ipv6);

/* The second that was printed last. Begin with all zero. */
struct json_text_clock {
    int64_t second;
    size_t len;
    uint8_t text[40];
};

/* Seconds since 1970 as "2026-08-21T12:00:00.000000Z" with quotes; the fraction rounded to microseconds by itself, so
 * that it can come out as .1000000. The text "2000-01-01T00:00:00.000000" for a time without a calendar day. */
uint8_t *json_text_iso8601(uint8_t *out, double seconds, struct json_text_clock *clock);

/* Copy the part of a string up to its first byte that is not printable ASCII, a quote or a backslash; *text gets there.
 * Needs room for the string and JSON_TEXT_SLACK. */
uint8_t *json_text_plain(uint8_t *out, const uint8_t **text, const uint8_t *end);

enum json_text_care json_text_inspect(const uint8_t *text, const uint8_t *end, enum json_text_policy policy);
/* Write *text up to stop, or to the end of the sequence that lies across it. */
uint8_t *json_text_escaped(uint8_t *out, const uint8_t **text, const uint8_t *stop, const uint8_t *end,
                           enum json_text_policy policy, enum json_text_care care);

#endif
