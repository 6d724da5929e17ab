#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "logwriter.h"
#include "zmq_drain.h"
#include "transcode.h"
#include "batch_intake.h"

#define ZMQ_DONTWAIT 1

/* zmq_msg_t as zmq.h has it since libzmq 4.1: opaque, 64 bytes, aligned like a pointer. */
struct message {
    _Alignas(void *) unsigned char opaque[64];
};
_Static_assert(sizeof(struct message) == 64, "zmq_msg_t is part of libzmq's ABI");

struct zd_api {
    void *library;
    int (*msg_init)(struct message *);
    int (*msg_recv)(struct message *, void *socket, int flags);
    void *(*msg_data)(struct message *);
    size_t (*msg_size)(const struct message *);
    int (*msg_more)(const struct message *);
    int (*msg_close)(struct message *);
    int (*last_errno)(void);
    void (*version)(int *major, int *minor, int *patch);
};

struct objects {
    char **names;
    size_t count;
    size_t room;
    int failed;
};

/* Only collects names: dlopen() within the callback would run under the loader's lock. */
static int collect_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct objects *objects = arg;
    (void)size;
    if (objects->count == objects->room) {
        size_t room = objects->room * 2 + 64;
        char **names = realloc(objects->names, room * sizeof *names);
        if (names == NULL) {
            objects->failed = 1;
            return 1;
        }
        objects->names = names;
        objects->room = room;
    }
    char *name = strdup(info->dlpi_name != NULL ? info->dlpi_name : "");
    if (name == NULL) {
        objects->failed = 1;
        return 1;
    }
    objects->names[objects->count++] = name;
    return 0;
}

static int look_up(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        return 0;
    memcpy(function, &symbol, sizeof symbol);
    return 1;
}

static int bind_api(struct zd_api *api, const char *object)
{
    /* The program itself has no name; it offers the functions if libzmq is linked into it. */
    void *library = dlopen(object[0] != '\0' ? object : NULL, RTLD_NOLOAD | RTLD_NOW);
    if (library == NULL)
        return 0;
    if (look_up(library, "zmq_msg_init", &api->msg_init) && look_up(library, "zmq_msg_recv", &api->msg_recv) &&
        look_up(library, "zmq_msg_data", &api->msg_data) && look_up(library, "zmq_msg_size", &api->msg_size) &&
        look_up(library, "zmq_msg_more", &api->msg_more) && look_up(library, "zmq_msg_close", &api->msg_close) &&
        look_up(library, "zmq_errno", &api->last_errno) && look_up(library, "zmq_version", &api->version)) {
        api->library = library;
        return 1;
    }
    dlclose(library);
    return 0;
}

static int bind_by_prefix(struct zd_api *api, const struct objects *objects, const char *prefix)
{
    for (size_t i = 0; i < objects->count; i++) {
        const char *slash = strrchr(objects->names[i], '/');
        const char *base = slash != NULL ? slash + 1 : objects->names[i];
        if (strncmp(base, prefix, strlen(prefix)) == 0 && bind_api(api, objects->names[i]))
            return 1;
    }
    return 0;
}

/* pyzmq's extension is called _zmq: looking through it finds the copy that it is linked with, even if the process
 * holds a second one. Other builds of pyzmq may name it otherwise or contain libzmq, hence the other two. */
static int bind_any(struct zd_api *api, const struct objects *objects)
{
    return bind_by_prefix(api, objects, "_zmq") || bind_by_prefix(api, objects, "libzmq") ||
           bind_by_prefix(api, objects, "");
}

int zd_open(struct zd_api **out)
{
    struct objects objects = {0};
    int major = 0, minor = 0, patch = 0;
    *out = NULL;
    struct zd_api *api = calloc(1, sizeof *api);
    if (api == NULL)
        return ENOMEM;
    dl_iterate_phdr(collect_object, &objects);
    int error = objects.failed ? ENOMEM : bind_any(api, &objects) ? 0 : ENOENT;
    for (size_t i = 0; i < objects.count; i++)
        free(objects.names[i]);
    free(objects.names);
    if (error == 0) {
        api->version(&major, &minor, &patch);
        error = major == 4 ? 0 : ENOTSUP;
    }
    if (error != 0) {
        zd_close(api);
        return error;
    }
    *out = api;
    return 0;
}

void zd_close(struct zd_api *api)
{
    if (api == NULL)
        return;
    if (api->library != NULL)
        dlclose(api->library);
    free(api);
}

static int receive(const struct zd_api *api, struct message *message, void *socket)
{
    while (api->msg_recv(message, socket, ZMQ_DONTWAIT) < 0) {
        int error = api->last_errno();
        if (error != EINTR)
            return error;
    }
    return 0;
}

/* Where messages go. */
struct target {
    void *intake;
    int (*has_room)(const void *intake);
    int (*frame)(void *intake, const uint8_t *data, size_t len, int more);
};

/* All frames of one message. libzmq hands out a message only when it has all of it, so only the first can be late. */
static int take_message(const struct zd_api *api, struct message *message, void *socket, const struct target *target)
{
    int more, failed = 0;
    do {
        int error = receive(api, message, socket);
        if (error != 0)
            return error;
        more = api->msg_more(message);
        error = target->frame(target->intake, api->msg_data(message), api->msg_size(message), more);
        if (error != 0)
            failed = error;
    } while (more);
    return failed;
}

static int drain(const struct zd_api *api, void *socket, const struct target *target, size_t max_messages,
                 size_t *received)
{
    struct message message;
    int error = 0;
    *received = 0;
    api->msg_init(&message);
    while (error == 0 && *received < max_messages && target->has_room(target->intake)) {
        error = take_message(api, &message, socket, target);
        if (error == 0)
            ++*received;
    }
    api->msg_close(&message);
    return error;
}

static int log_has_room(const void *intake)
{
    return lw_has_room(intake);
}

static int log_frame(void *intake, const uint8_t *data, size_t len, int more)
{
    lw_frame(intake, data, len, more);
    return 0;
}

int zd_drain(struct zd_api *api, void *socket, struct lw_intake *intake, size_t max_messages, size_t *received)
{
    const struct target target = {intake, log_has_room, log_frame};
    return drain(api, socket, &target, max_messages, received);
}

static int batch_has_room(const void *intake)
{
    return bi_has_room(intake);
}

static int batch_frame(void *intake, const uint8_t *data, size_t len, int more)
{
    return bi_frame(intake, data, len, more);
}

int zd_drain_batches(struct zd_api *api, void *socket, struct bi_intake *intake, size_t max_messages,
                     size_t *received)
{
    const struct target target = {intake, batch_has_room, batch_frame};
    return drain(api, socket, &target, max_messages, received);
}
