/* Intake for the Bro/Zeek ZeroMQ log writer: frames in, blocks of rows out, grouped by log path and node.
 *
 * A message is two frames: log path, one JSON object. The intake checks both, counts what it refuses by reason, and
 * collects the accepted rows until lw_reset(). It is sans-I/O: frames come from lw_frame(), whoever received them.
 * Rows of one (path, node) keep their order. One thread at a time; nothing here blocks or logs.
 */

struct lw_intake;

/* Why a message was refused. Each refused message counts once, by its first fault. */
struct lw_counts {
    uint64_t messages;     /* whole messages seen = accepted + all of the below */
    uint64_t accepted;
    uint64_t bad_frames;   /* not exactly two frames */
    uint64_t bad_path;     /* empty, longer than 255 bytes, or outside [A-Za-z0-9_.-] with a letter, digit or _ first */
    uint64_t too_large;    /* row longer than max_row */
    uint64_t bad_json;     /* row is not one JSON object on one line, see json_row.h */
};

/* Rows of one path and node since the last lw_reset(). Pointers are valid until then. */
struct lw_group {
    const uint8_t *path;
    size_t path_len;
    const uint8_t *node;   /* empty if the rows carry no "_node" */
    size_t node_len;
    uint64_t rows;
    uint64_t bytes;        /* what lw_copy_group() writes: the rows and one newline after each */
};

/* Sequence counter of one (path, node), kept from the first row that carries "_seq". Survives lw_reset().
 * Writers count 1, 2, 3 ...; a number that is not above the last one means that the writer started again. */
struct lw_sequence {
    const uint8_t *path;
    size_t path_len;
    const uint8_t *node;
    size_t node_len;
    uint64_t last;
    uint64_t missing;      /* numbers skipped between rows that arrived: lost on the way */
    uint64_t unseen;       /* numbers before the first row of each run of the writer: sent before it was connected, or lost */
    uint64_t restarts;
};

/* A new intake. max_row: longest row in bytes, >= 2. max_rows, arena: what one round may hold; arena is raised to
 * hold at least one row of max_row. max_sequences bounds the counter table; pairs beyond it are not tracked (see
 * lw_untracked). Returns 0, EINVAL (max_row < 2 or max_rows < 1) or ENOMEM; free with lw_close(). */
int lw_open(size_t max_row, size_t max_rows, size_t arena, size_t max_sequences, struct lw_intake **out);
void lw_close(struct lw_intake *intake);

/* Room for one more message of any legal size? If 0, take the groups and call lw_reset() before the next frame. */
int lw_has_room(const struct lw_intake *intake);

/* One frame; more != 0 if further frames of the same message follow. data is copied. Returns 1 if the frame ended a
 * message that was accepted, 0 if it did not end a message or the message was refused. The caller checks
 * lw_has_room() before the first frame of each message; without room the message is refused as too_large. */
int lw_frame(struct lw_intake *intake, const uint8_t *data, size_t len, int more);

/* Groups of this round, in order of first arrival; i < lw_group_count(). */
size_t lw_group_count(const struct lw_intake *intake);
void lw_group(const struct lw_intake *intake, size_t i, struct lw_group *out);
/* Write group i to out, which has room for its bytes. */
void lw_copy_group(const struct lw_intake *intake, size_t i, uint8_t *out);
/* Forget the rows (not the counts and sequences). A message whose frames have begun stays begun. */
void lw_reset(struct lw_intake *intake);

void lw_get_counts(const struct lw_intake *intake, struct lw_counts *out);
size_t lw_sequence_count(const struct lw_intake *intake);
void lw_get_sequence(const struct lw_intake *intake, size_t i, struct lw_sequence *out);
/* Rows with a counter that found the table full. */
uint64_t lw_untracked(const struct lw_intake *intake);
/* The beginning of the last refused message's offending frame, for the operator: up to cap bytes into out; returns
 * how many. */
size_t lw_last_refused(const struct lw_intake *intake, uint8_t *out, size_t cap);
