/* Lines of Zeek's own log files to JSON rows, a block at a time: ASCII logs ("TSV") by the columns of their header, and
 * JSON logs, which only are checked. Sans-I/O: bytes in, rows out.
 *
 * The rows are those that Zeek's JSON writer would print for the same values; see json_text.h for numbers and strings.
 * A line that makes no sense is counted and left out. One thread at a time for each handle; nothing here blocks or logs.
 */

struct tsv_lines;

enum tsv_type {
    TSV_STRING,  /* string, enum, pattern, file, func */
    TSV_BOOL,
    TSV_INT,
    TSV_COUNT,
    TSV_PORT,
    TSV_REAL,    /* double, time, interval */
    TSV_ADDRESS, /* addr, subnet: digits, dots, colons and slashes; what they mean is not looked at */
};

enum tsv_stop {
    TSV_STOP_END,       /* no further whole line */
    TSV_STOP_DIRECTIVE, /* the next line begins with '#'; it is not consumed */
    TSV_STOP_FULL,      /* no room for the next line; it needs `room` bytes */
};

enum tsv_fault {
    TSV_FAULT_NONE,
    TSV_FAULT_COLUMNS, /* fewer or more cells than columns */
    TSV_FAULT_VALUE,   /* a cell that is no value of its column's type */
    TSV_FAULT_JSON,    /* not one JSON object, see json_row.h */
    TSV_FAULT_LARGE,   /* longer than max_line */
};

/* What one call did. Lines consumed = rows + bad + large. */
struct tsv_step {
    size_t consumed;        /* bytes of whole lines */
    size_t written;         /* bytes of rows, each with its newline */
    uint64_t rows;
    uint64_t bad;           /* refused for any fault but TSV_FAULT_LARGE */
    uint64_t large;
    enum tsv_stop stop;
    size_t room;
    enum tsv_fault fault;   /* of the last refused line, which begins at refused_at */
    size_t refused_at;
    size_t refused_len;
    size_t column;          /* of TSV_FAULT_VALUE: the first bad one, from 0; of TSV_FAULT_COLUMNS: the cells found, or
                               more if there are too many */
};

/* Lines of a log with `columns` columns, none for JSON; a longer line than max_line bytes is refused. The marks are
 * copied; separator and set_separator have at least one byte. Returns 0, EINVAL (a mark or limit out of range) or
 * ENOMEM; free with tsv_close(). */
int tsv_open(size_t columns, size_t max_line, struct tsv_lines **out);
int tsv_set_marks(struct tsv_lines *lines, const uint8_t *separator, size_t separator_len,
                  const uint8_t *set_separator, size_t set_separator_len,
                  const uint8_t *empty_field, size_t empty_field_len,
                  const uint8_t *unset_field, size_t unset_field_len);
/* Column i: the member's key with quotes and colon as it is to be written, copied; is_list for sets and vectors. */
int tsv_set_column(struct tsv_lines *lines, size_t i, const uint8_t *key, size_t key_len, enum tsv_type type,
                   int is_list);
void tsv_close(struct tsv_lines *lines);

/* Convert whole lines of data until there is none, one begins with '#', or out is full. A carriage return before a
 * newline is no part of the line. What is behind the last newline is left alone. */
void tsv_convert(struct tsv_lines *lines, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                 struct tsv_step *step);
