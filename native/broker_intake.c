#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "big_endian.h"
#include "broker_frames.h"
#include "broker_intake.h"
#include "broker_message.h"
#include "keyed_hash.h"

#define LENGTH 4                 /* bytes before each frame, and each event of a run */
#define HELD_SLACK 4096
#define ARENA_KEPT (1u << 20)    /* memory that stays from one feed to the next */
#define RUNS_KEPT 4096
#define HASHES_KEPT 65536
#define RUNS_FIRST 16

static const uint8_t NIL[BK_ID];
static const uint8_t LOCAL[] = "<$>/local/";

struct bytes {
    uint8_t *data;
    size_t len;
    size_t room;
};

struct bk_intake {
    uint8_t me[BK_ID];
    uint8_t peer[BK_ID];
    size_t max_message;
    struct bytes held;  /* a frame that is not yet whole, with its length; never more than one */
    struct bytes arena; /* what the runs are made of */
    struct bk_run *runs;
    size_t run_count;
    size_t run_room;
    struct bv_hashes hashes;
    struct bk_counts counts;
    int is_over;
};

/* A data message from somebody else to us, or to everybody. */
struct envelope {
    struct bm_text topic;
    struct bm_text payload;
    unsigned ttl;
    int is_unicast;
    int is_foreign;
};

static void release(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static int reserve(struct bytes *bytes, size_t room)
{
    if (bytes->room >= room)
        return 0;
    uint8_t *grown = realloc(bytes->data, room);
    if (grown == NULL)
        return ENOMEM;
    bytes->data = grown;
    bytes->room = room;
    return 0;
}

int bk_open(const uint8_t *me, const uint8_t *peer, size_t max_message, struct bk_intake **out)
{
    *out = NULL;
    if (max_message < 1 || max_message > BK_MAX_FRAME)
        return EINVAL;
    struct bk_intake *intake = calloc(1, sizeof *intake);
    if (intake == NULL)
        return ENOMEM;
    memcpy(intake->me, me, BK_ID);
    memcpy(intake->peer, peer, BK_ID);
    intake->max_message = max_message;
    intake->hashes.seed = kh_seed(intake);
    *out = intake;
    return 0;
}

void bk_close(struct bk_intake *intake)
{
    if (intake == NULL)
        return;
    release(&intake->held);
    release(&intake->arena);
    free(intake->runs);
    bv_hashes_release(&intake->hashes);
    free(intake);
}

static int is_id(const uint8_t *p, const uint8_t *id)
{
    return memcmp(p, id, BK_ID) == 0;
}

/* 0 if the frame is anything else, or may not come from a peer. A nil sender, or ourselves as the sender, would mean
 * that the message was made here. */
static int open_envelope(const struct bk_intake *intake, const uint8_t *frame, size_t len, struct envelope *out)
{
    if (len < BK_HEADER || frame[BK_AT_TYPE] != BK_DATA)
        return 0;
    const uint8_t *receiver = frame + BK_ID;
    size_t topic_len = be16(frame + BK_AT_TOPIC_LEN);
    if (topic_len == 0 || topic_len >= len - BK_HEADER || is_id(frame, NIL) || is_id(frame, intake->me))
        return 0;
    out->is_unicast = is_id(receiver, intake->me);
    if (!out->is_unicast && !is_id(receiver, NIL))
        return 0;
    const uint8_t *topic = frame + BK_HEADER;
    if (topic_len >= sizeof LOCAL - 1 && memcmp(topic, LOCAL, sizeof LOCAL - 1) == 0)
        return 0;
    out->topic = (struct bm_text){.data = topic, .len = topic_len};
    out->payload = (struct bm_text){.data = topic + topic_len, .len = len - BK_HEADER - topic_len};
    out->ttl = be16(frame + BK_AT_TTL);
    out->is_foreign = !is_id(frame, intake->peer);
    return 1;
}

static int same_text(const struct bk_intake *intake, uint64_t at, uint64_t len, const struct bm_text *text)
{
    return len == text->len && memcmp(intake->arena.data + at, text->data, text->len) == 0;
}

/* Whether an event continues the last run; then it goes right behind it. */
static int is_next(const struct bk_intake *intake, const struct envelope *envelope, const struct bm_text *name)
{
    if (intake->run_count == 0)
        return 0;
    const struct bk_run *run = &intake->runs[intake->run_count - 1];
    return run->kind == BK_EVENTS && run->count < BK_RUN_EVENTS &&
           run->bytes + LENGTH + envelope->payload.len <= BK_RUN_BYTES && run->ttl == envelope->ttl &&
           run->is_unicast == (uint64_t)envelope->is_unicast &&
           same_text(intake, run->name, run->name_len, name) &&
           same_text(intake, run->topic, run->topic_len, &envelope->topic);
}

static struct bk_run *add_run(struct bk_intake *intake, enum bk_kind kind)
{
    if (intake->run_count == intake->run_room) {
        size_t room = intake->run_room == 0 ? RUNS_FIRST : intake->run_room * 2;
        struct bk_run *runs = realloc(intake->runs, room * sizeof *runs);
        if (runs == NULL)
            return NULL;
        intake->runs = runs;
        intake->run_room = room;
    }
    struct bk_run *run = &intake->runs[intake->run_count++];
    *run = (struct bk_run){.kind = kind, .count = 1};
    return run;
}

/* To the arena, which has the room. Returns where it is there: where it was if that is in place. */
static uint64_t put(struct bk_intake *intake, const uint8_t *data, size_t len, int is_in_place)
{
    if (is_in_place)
        return (uint64_t)(data - intake->arena.data);
    size_t at = intake->arena.len;
    memcpy(intake->arena.data + at, data, len);
    intake->arena.len += len;
    return at;
}

static void put_length(struct bk_intake *intake, size_t len)
{
    put_be32(intake->arena.data + intake->arena.len, (uint32_t)len);
    intake->arena.len += LENGTH;
}

static int add_event(struct bk_intake *intake, const struct envelope *envelope, const struct bm_text *name,
                     int is_in_place)
{
    const struct bm_text *payload = &envelope->payload;
    if (is_next(intake, envelope, name)) {
        struct bk_run *run = &intake->runs[intake->run_count - 1];
        put_length(intake, payload->len);
        put(intake, payload->data, payload->len, 0);
        run->count++;
        run->bytes += LENGTH + payload->len;
        return 0;
    }
    struct bk_run *run = add_run(intake, BK_EVENTS);
    if (run == NULL)
        return ENOMEM;
    run->topic = put(intake, envelope->topic.data, envelope->topic.len, is_in_place);
    run->topic_len = envelope->topic.len;
    if (is_in_place) {
        /* The topic gives way to the length: the header before it is not needed any more. */
        uint8_t *topic = intake->arena.data + run->topic;
        memmove(topic - LENGTH, topic, envelope->topic.len);
        put_be32(topic - LENGTH + envelope->topic.len, (uint32_t)payload->len);
        run->topic -= LENGTH;
    } else {
        put_length(intake, payload->len);
    }
    run->data = put(intake, payload->data, payload->len, is_in_place) - LENGTH;
    run->bytes = LENGTH + payload->len;
    run->name = run->data + LENGTH + (uint64_t)(name->data - payload->data);
    run->name_len = name->len;
    run->ttl = envelope->ttl;
    run->is_unicast = (uint64_t)envelope->is_unicast;
    return 0;
}

static int add_logs(struct bk_intake *intake, const struct envelope *envelope, int is_in_place)
{
    struct bk_run *run = add_run(intake, BK_LOGS);
    if (run == NULL)
        return ENOMEM;
    run->topic = put(intake, envelope->topic.data, envelope->topic.len, is_in_place);
    run->topic_len = envelope->topic.len;
    run->data = put(intake, envelope->payload.data, envelope->payload.len, is_in_place);
    run->bytes = envelope->payload.len;
    run->ttl = envelope->ttl;
    run->is_unicast = (uint64_t)envelope->is_unicast;
    return 0;
}

static int add_other(struct bk_intake *intake, const uint8_t *frame, size_t len, int is_in_place)
{
    struct bk_run *run = add_run(intake, BK_OTHER);
    if (run == NULL)
        return ENOMEM;
    run->data = put(intake, frame, len, is_in_place);
    run->bytes = len;
    return 0;
}

/* A whole frame; in place if it is the arena's only content. */
static int add_frame(struct bk_intake *intake, const uint8_t *frame, size_t len, int is_in_place)
{
    struct bk_counts *counts = &intake->counts;
    struct envelope envelope = {0};
    struct bm_text name;
    uint64_t *kind;
    int error;
    if (len == 0) {
        counts->empty++;
        return 0;
    }
    int is_data = open_envelope(intake, frame, len, &envelope);
    const struct bm_text *payload = &envelope.payload;
    if (is_data && bm_is_event(payload->data, payload->len, &intake->hashes, &name)) {
        kind = &counts->events;
        error = add_event(intake, &envelope, &name, is_in_place);
    } else if (is_data && bm_is_logs(payload->data, payload->len)) {
        kind = &counts->logs;
        error = add_logs(intake, &envelope, is_in_place);
    } else {
        kind = &counts->others;
        envelope.is_foreign = 0;
        error = add_other(intake, frame, len, is_in_place);
    }
    if (error)
        return error;
    ++*kind;
    counts->frames++;
    counts->bytes += LENGTH + len;
    counts->foreign += (uint64_t)envelope.is_foreign;
    return 0;
}

static int check_length(struct bk_intake *intake, const uint8_t *p, size_t *len)
{
    *len = be32(p);
    if (*len <= intake->max_message)
        return 0;
    intake->counts.oversize++;
    return EMSGSIZE;
}

/* Keep the next bytes of a torn frame, of which `whole` bytes will come at most. The room grows with what has come, so
 * that an announcement costs nothing and many small pieces cost no more than a few large ones. */
static int hold(struct bk_intake *intake, const uint8_t *data, size_t len, size_t whole)
{
    struct bytes *held = &intake->held;
    size_t needed = held->len + len;
    if (len == 0)
        return 0;
    if (needed > held->room) {
        size_t room = needed + needed / 4 + HELD_SLACK;
        if (reserve(held, room < whole ? room : whole))
            return ENOMEM;
    }
    memcpy(held->data + held->len, data, len);
    held->len = needed;
    return 0;
}

/* How long the torn frame is with its length, as far as that is known. */
static size_t whole_bytes(const struct bytes *held)
{
    return held->len < LENGTH ? LENGTH : LENGTH + (size_t)be32(held->data);
}

/* What is missing of the torn frame. When it is whole, its memory becomes the arena: it is not copied again. */
static int finish_held(struct bk_intake *intake, const uint8_t **data, const uint8_t *end)
{
    struct bytes *held = &intake->held;
    size_t whole, len;
    while (held->len < (whole = whole_bytes(held))) {
        size_t missing = whole - held->len, come = (size_t)(end - *data);
        if (come == 0)
            return 0;
        missing = missing < come ? missing : come;
        int error = hold(intake, *data, missing, whole);
        if (!error && held->len == LENGTH)
            error = check_length(intake, held->data, &len);
        if (error)
            return error;
        *data += missing;
    }
    struct bytes arena = intake->arena;
    intake->arena = *held;
    *held = arena;
    return add_frame(intake, intake->arena.data + LENGTH, whole - LENGTH, 1);
}

static int add_frames(struct bk_intake *intake, const uint8_t *data, const uint8_t *end)
{
    int error = 0;
    if (intake->held.len > 0)
        error = finish_held(intake, &data, end);
    /* Nothing becomes longer than its frame was. */
    if (!error)
        error = reserve(&intake->arena, intake->arena.len + (size_t)(end - data));
    while (!error && end - data >= LENGTH) {
        size_t len;
        error = check_length(intake, data, &len);
        if (error)
            return error;
        if (len > (size_t)(end - data) - LENGTH)
            return hold(intake, data, (size_t)(end - data), LENGTH + len);
        error = add_frame(intake, data + LENGTH, len, 0);
        data += LENGTH + len;
    }
    return error ? error : hold(intake, data, (size_t)(end - data), SIZE_MAX);
}

int bk_feed(struct bk_intake *intake, const uint8_t *data, size_t len, struct bk_result *out)
{
    int error = EMSGSIZE;
    bk_reset(intake);
    if (!intake->is_over) {
        error = add_frames(intake, data, data + len);
        intake->is_over = error != 0;
    }
    if (error)
        release(&intake->held);
    out->runs = intake->runs;
    out->count = intake->run_count;
    out->arena = intake->arena.data;
    out->bytes = intake->arena.len;
    return error;
}

void bk_reset(struct bk_intake *intake)
{
    intake->run_count = 0;
    intake->arena.len = 0;
    if (intake->arena.room > ARENA_KEPT)
        release(&intake->arena);
    if (intake->run_room > RUNS_KEPT) {
        free(intake->runs);
        intake->runs = NULL;
        intake->run_room = 0;
    }
    if (intake->hashes.room > HASHES_KEPT)
        bv_hashes_release(&intake->hashes);
}

size_t bk_held_bytes(const struct bk_intake *intake)
{
    return intake->held.len;
}

int bk_is_between_frames(const struct bk_intake *intake)
{
    return intake->held.len == 0 && !intake->is_over;
}

void bk_get_counts(const struct bk_intake *intake, struct bk_counts *out)
{
    *out = intake->counts;
}
