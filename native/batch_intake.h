/* Intake for the log batches of a ZeroMQ cluster: frames in, blocks of JSON lines out, grouped by path and sender.
 *
 * A message is four frames: "log-write", the sender's node id, "zeek-bin-serializer", a batch. Batches of one path,
 * sender and schema are put together, so that what comes after costs by the block however small the batches are. It is
 * sans-I/O: frames come from bi_frame(), whoever received them. One thread at a time; nothing here blocks or logs.
 */

struct bi_intake;

/* Messages since bi_open(): messages = accepted + other_filter + all bad ones. */
struct bi_counts {
    uint64_t messages;
    uint64_t accepted;
    uint64_t records;      /* in the accepted ones */
    uint64_t other_filter; /* of a log filter that is not accepted */
    uint64_t bad_frames;   /* not exactly four frames, or not these */
    uint64_t bad_format;   /* the third frame names another format */
    uint64_t bad_path;     /* log path empty, longer than 255 bytes, or outside [A-Za-z0-9_.-] with a letter, digit or _ first */
    uint64_t bad_batch;    /* does not decode; nothing of it is used */
    uint64_t no_memory;    /* lost, see bi_frame() */
};

/* Lines of one path, sender and schema since the last bi_reset(). Pointers are valid until then. Whenever the schema of a
 * path and sender changes, a new group begins. */
struct bi_group {
    const uint8_t *path;
    size_t path_len;
    const uint8_t *sender;
    size_t sender_len;
    const uint8_t *data;   /* `rows` JSON objects, each followed by a newline */
    size_t bytes;
    uint64_t rows;
    uint64_t schema_id;    /* as in struct tc_result */
    const uint8_t *header; /* what its batches begin with, for tc_batch_header() */
    size_t header_len;
};

/* The transcoder stays the caller's and must outlive the intake. max_output bounds the bytes of a round: no message is
 * begun beyond it, so a round may exceed it by one batch. Returns 0 or ENOMEM; free with bi_close(). */
int bi_open(struct tc_transcoder *transcoder, size_t max_output, struct bi_intake **out);
void bi_close(struct bi_intake *intake);

/* Accept batches of this log filter, too. Returns 0 or ENOMEM. */
int bi_accept(struct bi_intake *intake, const uint8_t *filter, size_t len);
/* Accept no filter. */
void bi_accept_none(struct bi_intake *intake);

/* May one more message come? If 0, take the groups and call bi_reset(). */
int bi_has_room(const struct bi_intake *intake);
/* One frame; more != 0 if further frames of the same message follow. Returns 0, or ENOMEM: the message is lost, for
 * there is no memory for it, or it would need a further group although bi_has_room() says no. */
int bi_frame(struct bi_intake *intake, const uint8_t *data, size_t len, int more);

size_t bi_group_count(const struct bi_intake *intake);
void bi_get_group(const struct bi_intake *intake, size_t i, struct bi_group *out);
/* The payload of this round's last bad batch; 0 if there was none. */
size_t bi_get_refused(const struct bi_intake *intake, const uint8_t **payload);
/* Forget the groups and the refused batch. */
void bi_reset(struct bi_intake *intake);

void bi_get_counts(const struct bi_intake *intake, struct bi_counts *out);

/* As zd_drain(), into this intake. */
int zd_drain_batches(struct zd_api *api, void *socket, struct bi_intake *intake, size_t max_messages,
                     size_t *received);
