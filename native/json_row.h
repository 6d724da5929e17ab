/* One JSON object on one line: validation without building anything.
 *
 * Strict RFC 8259 with UTF-8 checked (RFC 3629: no surrogates, no overlong forms), no byte below 0x20 anywhere (so a
 * row can never break a line-oriented file), nesting limited to JSON_ROW_DEPTH. Nothing allocates, nothing blocks;
 * safe from any thread.
 */

#define JSON_ROW_DEPTH 64

/* What the scan picks up on the way, from the top level only. */
struct json_row_marks {
    const uint8_t *node;  /* value of "_node" if it is a string without escapes, else NULL; points into the row */
    size_t node_len;
    uint64_t seq;         /* value of "_seq" if has_seq: a non-negative integer that fits */
    int has_seq;
};

/* 0 if row[0..len) is exactly one JSON object, else EBADMSG. marks may be NULL. */
int json_row_check(const uint8_t *row, size_t len, struct json_row_marks *marks);
