/* Zeek's binary log records to JSON lines, text for text what Zeek's own JSON log writer makes of them.
 *
 * Two forms come in: log batches that carry their schema (the ZeroMQ backend's "zeek-bin-serializer"), and Broker data
 * messages with log writes, whose schema was announced before. Columns that a record leaves unset are left out; values are
 * printed by the type that they carry themselves, as Zeek does. Any input is safe: it is decoded or refused with EBADMSG. One thread at
 * a time for each object; nothing here blocks or logs.
 */

#define TC_DEPTH 16             /* containers inside each other, in a column */
#define TC_HEADER_MAX 65536     /* bytes of a batch before its records, and of all names of a schema */

/* How times are written: what LogAscii::json_timestamps selects. Intervals are seconds always. */
enum tc_time {
    TC_TIME_EPOCH,              /* seconds as a real number */
    TC_TIME_MILLIS,             /* whole milliseconds, cut off; the least int64 if that is too small */
    TC_TIME_MILLIS_UNSIGNED,    /* the same as uint64, where times before 1970 become very large */
    TC_TIME_ISO8601,            /* UTC with microseconds */
};

/* What becomes of bytes in strings that are no good UTF-8; json_text.h has the rules. */
enum tc_escape {
    TC_ESCAPE_HEX,              /* \\xNN: Zeek up to 8.0 and from 8.2 on */
    TC_ESCAPE_CONTROLS,         /* the same, but control characters as \u00NN: Zeek 8.1 */
    TC_ESCAPE_PRIVATE,          /* \udb80\udcNN: LogAscii::json_string_escape_policy of Zeek 9.0 */
};

/* Which numbers the types have. */
enum tc_numbering {
    TC_NUMBERING_5,             /* Zeek 5.0 and later, and every batch that carries its schema */
    TC_NUMBERING_4_1,           /* Zeek 4.1 and 4.2 */
    TC_NUMBERING_2_6,           /* Bro 2.6 to Zeek 4.0 */
};

/* Members that come before the columns of every record, in this order. One whose name is a column is left out. */
enum tc_extra {
    TC_EXTRA_PATH = 1,          /* "_path" */
    TC_EXTRA_NODE = 2,          /* "_node" */
    TC_EXTRA_WRITE_TS = 4,      /* "_write_ts", a time */
};

struct tc_options {
    int time;                   /* enum tc_time */
    int escape;                 /* enum tc_escape */
    int extras;                 /* enum tc_extra, added up */
    int with_unset;             /* write null for unset columns: LogAscii::json_include_unset_fields */
    size_t max_output;          /* longest output of a call; 1 MiB at least */
};

/* What the extra members say. */
struct tc_context {
    const uint8_t *node;        /* may be NULL if node_len is 0 */
    size_t node_len;
    double write_ts;            /* seconds since 1970 */
};

struct tc_column {
    const uint8_t *name;
    size_t name_len;
    int32_t type;               /* Zeek's number */
    int32_t subtype;            /* of the elements of a set or vector */
    int optional;
};

/* The columns of a log, and its names as far as they are known. */
struct tc_names {
    const uint8_t *stream;
    size_t stream_len;
    const uint8_t *writer;
    size_t writer_len;
    const uint8_t *filter;      /* empty for a log write */
    size_t filter_len;
    const uint8_t *path;
    size_t path_len;
    size_t columns;
};

struct tc_schema;
struct tc_transcoder;

struct tc_result {
    const uint8_t *data;        /* `count` JSON objects, each followed by a newline; valid until the next call */
    size_t len;
    uint64_t count;
    uint64_t refused;           /* log writes that do not decode or have another number of columns; none of a batch */
    uint64_t error_offset;      /* in the payload, where it does not decode */
    const struct tc_schema *schema; /* of a batch; valid until the next call */
    uint64_t schema_id;         /* never given twice by the same transcoder */
    int schema_is_new;          /* made by this call: not seen before, or forgotten since */
};

/* Returns 0, EINVAL for the limits, or ENOMEM; free with tc_close(). */
int tc_open(const struct tc_options *options, struct tc_transcoder **out);
void tc_close(struct tc_transcoder *transcoder);

/* A whole log batch. Returns 0; EBADMSG if it does not decode, EMSGSIZE if the output would be longer than max_output or
 * the header is longer than TC_HEADER_MAX, or ENOMEM: then there is no output, and out->error_offset says where it
 * happened. out->schema is set as soon as the header is good, NULL before. */
int tc_batch(struct tc_transcoder *transcoder, const uint8_t *payload, size_t len, const struct tc_context *context,
             struct tc_result *out);
/* The same, without the records. */
int tc_batch_header(struct tc_transcoder *transcoder, const uint8_t *payload, size_t len, struct tc_result *out);

void tc_schema_names(const struct tc_schema *schema, struct tc_names *out);
/* i < columns. Pointers belong to the schema. */
void tc_schema_column(const struct tc_schema *schema, size_t i, struct tc_column *out);

/* A schema for log writes, as announced in a LogCreate. Of the names, path is used (for "_path"), the others are kept
 * only; there are names->columns entries of columns, of which the names are used. Returns 0, EINVAL (no columns, an
 * unknown numbering), EMSGSIZE (TC_HEADER_MAX) or ENOMEM. */
int tc_schema_open(const struct tc_names *names, const struct tc_column *columns, int numbering,
                   struct tc_schema **out);
void tc_schema_close(struct tc_schema *schema);

/* The log writes of a Broker data message. */
struct tc_writes;

/* Log writes with the same names. Pointers go into the payload. */
struct tc_group {
    const uint8_t *stream;
    size_t stream_len;
    const uint8_t *writer;
    size_t writer_len;
    const uint8_t *path;
    size_t path_len;
    uint64_t count;
    uint64_t bytes;             /* of the serialised records */
};

/* Walk a Broker data message, the payload of a data envelope: a log write, or a batch (which may hold batches). It is
 * good or bad as a whole; that a set or table holds no duplicates is not checked. The payload must stay until
 * tc_writes_close(). Returns 0, EBADMSG with *error_offset set, or ENOMEM. */
int tc_writes_open(const uint8_t *payload, size_t len, struct tc_writes **out, uint64_t *error_offset);
void tc_writes_close(struct tc_writes *writes);
/* Messages that are no log writes, unknown ones included. */
uint64_t tc_writes_others(const struct tc_writes *writes);
/* Groups in order of their first write; the records of each keep their order. */
size_t tc_writes_group_count(const struct tc_writes *writes);
void tc_writes_group(const struct tc_writes *writes, size_t i, struct tc_group *out);

/* The records of group i. Those that do not decode are left out and counted. Returns 0, EMSGSIZE or ENOMEM. */
int tc_group_lines(struct tc_transcoder *transcoder, const struct tc_writes *writes, size_t i,
                   const struct tc_schema *schema, const struct tc_context *context, struct tc_result *out);
