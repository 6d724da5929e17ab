#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "json_row.h"
#include "logwriter.h"

#define PATH_MAX_BYTES 255
#define NODE_MAX_BYTES 255 /* of a counter: its name is kept for good, so it must not be as long as a row */
#define REFUSED_BYTES 512
#define TABLE_MAX (UINT32_MAX / 4)

/* ACCEPTED and the reasons of refusal, as indexes of lw_intake.outcomes. */
enum outcome { ACCEPTED, BAD_FRAMES, BAD_PATH, TOO_LARGE, BAD_JSON, OUTCOMES };

struct key {
    const uint8_t *path;
    const uint8_t *node;
    size_t path_len;
    size_t node_len;
    uint64_t hash;
};

/* Rows of one group that lie side by side in the arena. */
struct extent {
    size_t start;
    size_t len;
    size_t next; /* index + 1 of the group's next extent, 0 if none */
};

struct group {
    struct key key;
    uint64_t rows;
    uint64_t bytes;
    size_t first_extent;
    size_t last_extent;
    size_t slot;
    size_t sequence; /* index + 1, 0 if not looked up yet or not tracked */
};

struct sequence {
    struct key key; /* path and node lie in one allocation that starts at path */
    uint64_t last;
    uint64_t missing;
    uint64_t unseen;
    uint64_t restarts;
};

struct lw_intake {
    size_t max_row;
    size_t max_rows;
    size_t max_sequences;
    uint64_t seed;

    uint8_t *arena;
    size_t arena_bytes;
    size_t arena_used;
    size_t rows;
    struct extent *extents;
    size_t extent_count;
    struct group *groups;
    size_t group_count;
    uint32_t *group_slots; /* index + 1 of the group, 0 if free */
    size_t group_mask;

    struct sequence *sequences;
    size_t sequence_count;
    uint32_t *sequence_slots;
    size_t sequence_mask;
    uint64_t untracked;

    uint64_t outcomes[OUTCOMES];
    enum outcome outcome; /* of the message in progress, so far */
    size_t frames;        /* of the message in progress */
    size_t path_len;
    uint8_t path[PATH_MAX_BYTES];
    size_t refused_len;
    uint8_t refused[REFUSED_BYTES];
};

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

static uint64_t mix_bytes(uint64_t hash, const uint8_t *p, size_t len)
{
    uint64_t word;
    hash = mix(hash, len);
    for (; len >= sizeof word; p += sizeof word, len -= sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++)
        word = word << 8 | p[i];
    return mix(hash, word);
}

static int same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static int same_key(const struct key *a, const struct key *b)
{
    return a->hash == b->hash && same_bytes(a->path, a->path_len, b->path, b->path_len) &&
           same_bytes(a->node, a->node_len, b->node, b->node_len);
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* At least twice the entries, so that probing stays short and always ends. */
static size_t slots_for(size_t entries)
{
    size_t slots = 2;
    while (slots < entries * 2)
        slots *= 2;
    return slots;
}

static int allocate(struct lw_intake *intake)
{
    size_t group_slots = slots_for(intake->max_rows), sequence_slots = slots_for(intake->max_sequences);
    intake->group_mask = group_slots - 1;
    intake->sequence_mask = sequence_slots - 1;
    intake->arena = malloc(intake->arena_bytes);
    intake->extents = calloc(intake->max_rows, sizeof *intake->extents);
    intake->groups = calloc(intake->max_rows, sizeof *intake->groups);
    intake->group_slots = calloc(group_slots, sizeof *intake->group_slots);
    intake->sequences = calloc(intake->max_sequences + 1, sizeof *intake->sequences);
    intake->sequence_slots = calloc(sequence_slots, sizeof *intake->sequence_slots);
    return intake->arena != NULL && intake->extents != NULL && intake->groups != NULL &&
           intake->group_slots != NULL && intake->sequences != NULL && intake->sequence_slots != NULL;
}

int lw_open(size_t max_row, size_t max_rows, size_t arena, size_t max_sequences, struct lw_intake **out)
{
    *out = NULL;
    if (max_row < 2 || max_rows < 1)
        return EINVAL;
    if (max_row > SIZE_MAX / 2 || max_rows > TABLE_MAX || max_sequences > TABLE_MAX)
        return ENOMEM;
    struct lw_intake *intake = calloc(1, sizeof *intake);
    if (intake == NULL)
        return ENOMEM;
    size_t message = max_row + 1 + PATH_MAX_BYTES;
    intake->max_row = max_row;
    intake->max_rows = max_rows;
    intake->max_sequences = max_sequences;
    intake->arena_bytes = arena > message ? arena : message;
    /* Peers choose the keys; a seed they do not know keeps them from choosing collisions. Without one it still works. */
    if (getrandom(&intake->seed, sizeof intake->seed, GRND_NONBLOCK) < 0)
        intake->seed = (uint64_t)(uintptr_t)intake;
    if (!allocate(intake)) {
        lw_close(intake);
        return ENOMEM;
    }
    *out = intake;
    return 0;
}

void lw_close(struct lw_intake *intake)
{
    if (intake == NULL)
        return;
    for (size_t i = 0; i < intake->sequence_count; i++)
        free((void *)(uintptr_t)intake->sequences[i].key.path);
    free(intake->sequence_slots);
    free(intake->sequences);
    free(intake->group_slots);
    free(intake->groups);
    free(intake->extents);
    free(intake->arena);
    free(intake);
}

int lw_has_room(const struct lw_intake *intake)
{
    return intake->rows < intake->max_rows &&
           intake->arena_bytes - intake->arena_used >= intake->max_row + 1 + PATH_MAX_BYTES;
}

static int is_path(const uint8_t *path, size_t len)
{
    if (len == 0 || len > PATH_MAX_BYTES || path[0] == '.' || path[0] == '-')
        return 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = path[i], lower = c | 0x20;
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '-')
            return 0;
    }
    return 1;
}

/* The group of key, made if there is none. lw_has_room() has seen to the space for one more and its path. */
static struct group *group_of(struct lw_intake *intake, const struct key *key)
{
    size_t slot = (size_t)key->hash & intake->group_mask;
    for (; intake->group_slots[slot] != 0; slot = (slot + 1) & intake->group_mask) {
        struct group *found = &intake->groups[intake->group_slots[slot] - 1];
        if (same_key(&found->key, key))
            return found;
    }
    struct group *group = &intake->groups[intake->group_count++];
    intake->group_slots[slot] = (uint32_t)intake->group_count;
    memset(group, 0, sizeof *group);
    group->key = *key;
    group->slot = slot;
    return group;
}

/* Counters outlive the arena, so a new one copies its key. Returns index + 1, or 0 if it cannot be tracked. */
static size_t sequence_of(struct lw_intake *intake, const struct key *key)
{
    size_t slot = (size_t)key->hash & intake->sequence_mask;
    for (; intake->sequence_slots[slot] != 0; slot = (slot + 1) & intake->sequence_mask)
        if (same_key(&intake->sequences[intake->sequence_slots[slot] - 1].key, key))
            return intake->sequence_slots[slot];
    if (intake->sequence_count == intake->max_sequences || key->node_len > NODE_MAX_BYTES)
        return 0;
    uint8_t *names = malloc(key->path_len + key->node_len);
    if (names == NULL)
        return 0;
    memcpy(names, key->path, key->path_len);
    if (key->node_len > 0)
        memcpy(names + key->path_len, key->node, key->node_len);
    struct sequence *sequence = &intake->sequences[intake->sequence_count++];
    sequence->key = *key;
    sequence->key.path = names;
    sequence->key.node = names + key->path_len;
    intake->sequence_slots[slot] = (uint32_t)intake->sequence_count;
    return intake->sequence_count;
}

static void track(struct lw_intake *intake, struct group *group, uint64_t seq)
{
    size_t known = intake->sequence_count;
    if (group->sequence == 0)
        group->sequence = sequence_of(intake, &group->key);
    if (group->sequence == 0) {
        intake->untracked++;
        return;
    }
    struct sequence *sequence = &intake->sequences[group->sequence - 1];
    int is_new = intake->sequence_count > known;
    if (!is_new && seq > sequence->last) {
        sequence->missing = add_saturating(sequence->missing, seq - sequence->last - 1);
    } else {
        sequence->unseen = add_saturating(sequence->unseen, seq > 0 ? seq - 1 : 0);
        sequence->restarts += is_new ? 0 : 1;
    }
    sequence->last = seq;
}

/* The row is in the arena already, up to end. */
static void add_row(struct lw_intake *intake, struct group *group, size_t start, size_t len)
{
    struct extent *last = group->last_extent != 0 ? &intake->extents[group->last_extent - 1] : NULL;
    if (last != NULL && last->start + last->len == start) {
        last->len += len;
    } else {
        intake->extents[intake->extent_count++] = (struct extent){.start = start, .len = len};
        if (last != NULL)
            last->next = intake->extent_count;
        else
            group->first_extent = intake->extent_count;
        group->last_extent = intake->extent_count;
    }
    group->rows++;
    group->bytes += len;
    intake->rows++;
}

static enum outcome take_row(struct lw_intake *intake, const uint8_t *row, size_t len)
{
    struct json_row_marks marks;
    if (len > intake->max_row || !lw_has_room(intake))
        return TOO_LARGE;
    if (json_row_check(row, len, &marks) != 0)
        return BAD_JSON;
    size_t start = intake->arena_used;
    uint8_t *copy = intake->arena + start;
    memcpy(copy, row, len);
    copy[len] = '\n';
    intake->arena_used += len + 1;

    struct key key = {.path = intake->path, .path_len = intake->path_len, .node_len = marks.node_len};
    key.node = marks.node != NULL ? copy + (marks.node - row) : copy;
    key.hash = mix_bytes(mix_bytes(intake->seed, key.path, key.path_len), key.node, key.node_len);
    struct group *group = group_of(intake, &key);
    if (group->rows == 0) {
        uint8_t *path = intake->arena + intake->arena_used;
        memcpy(path, key.path, key.path_len);
        group->key.path = path;
        intake->arena_used += key.path_len;
    }
    add_row(intake, group, start, len + 1);
    if (marks.has_seq)
        track(intake, group, marks.seq);
    return ACCEPTED;
}

/* The number of frames is judged before what they hold: a lone frame is no path with a missing row. */
static enum outcome take_frame(struct lw_intake *intake, const uint8_t *data, size_t len, int more)
{
    if (intake->frames == 0) {
        if (!more)
            return BAD_FRAMES;
        if (!is_path(data, len))
            return BAD_PATH;
        memcpy(intake->path, data, len);
        intake->path_len = len;
        return ACCEPTED;
    }
    return more ? BAD_FRAMES : take_row(intake, data, len);
}

int lw_frame(struct lw_intake *intake, const uint8_t *data, size_t len, int more)
{
    if (intake->outcome == ACCEPTED) {
        intake->outcome = take_frame(intake, data, len, more);
        if (intake->outcome != ACCEPTED) {
            intake->refused_len = len < REFUSED_BYTES ? len : REFUSED_BYTES;
            if (intake->refused_len > 0)
                memcpy(intake->refused, data, intake->refused_len);
        }
    }
    if (more) {
        intake->frames = 1;
        return 0;
    }
    enum outcome outcome = intake->outcome;
    intake->outcomes[outcome]++;
    intake->outcome = ACCEPTED;
    intake->frames = 0;
    return outcome == ACCEPTED;
}

size_t lw_group_count(const struct lw_intake *intake)
{
    return intake->group_count;
}

void lw_group(const struct lw_intake *intake, size_t i, struct lw_group *out)
{
    const struct group *group = &intake->groups[i];
    *out = (struct lw_group){
        .path = group->key.path,
        .path_len = group->key.path_len,
        .node = group->key.node,
        .node_len = group->key.node_len,
        .rows = group->rows,
        .bytes = group->bytes,
    };
}

void lw_copy_group(const struct lw_intake *intake, size_t i, uint8_t *out)
{
    for (size_t next = intake->groups[i].first_extent; next != 0;) {
        const struct extent *extent = &intake->extents[next - 1];
        memcpy(out, intake->arena + extent->start, extent->len);
        out += extent->len;
        next = extent->next;
    }
}

void lw_reset(struct lw_intake *intake)
{
    for (size_t i = 0; i < intake->group_count; i++)
        intake->group_slots[intake->groups[i].slot] = 0;
    intake->group_count = 0;
    intake->extent_count = 0;
    intake->rows = 0;
    intake->arena_used = 0;
}

void lw_get_counts(const struct lw_intake *intake, struct lw_counts *out)
{
    *out = (struct lw_counts){
        .accepted = intake->outcomes[ACCEPTED],
        .bad_frames = intake->outcomes[BAD_FRAMES],
        .bad_path = intake->outcomes[BAD_PATH],
        .too_large = intake->outcomes[TOO_LARGE],
        .bad_json = intake->outcomes[BAD_JSON],
    };
    for (size_t i = 0; i < OUTCOMES; i++)
        out->messages += intake->outcomes[i];
}

size_t lw_sequence_count(const struct lw_intake *intake)
{
    return intake->sequence_count;
}

void lw_get_sequence(const struct lw_intake *intake, size_t i, struct lw_sequence *out)
{
    const struct sequence *sequence = &intake->sequences[i];
    *out = (struct lw_sequence){
        .path = sequence->key.path,
        .path_len = sequence->key.path_len,
        .node = sequence->key.node,
        .node_len = sequence->key.node_len,
        .last = sequence->last,
        .missing = sequence->missing,
        .unseen = sequence->unseen,
        .restarts = sequence->restarts,
    };
}

uint64_t lw_untracked(const struct lw_intake *intake)
{
    return intake->untracked;
}

size_t lw_last_refused(const struct lw_intake *intake, uint8_t *out, size_t cap)
{
    size_t len = intake->refused_len < cap ? intake->refused_len : cap;
    if (len > 0)
        memcpy(out, intake->refused, len);
    return len;
}
