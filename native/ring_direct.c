#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "packet_view.h"
#include "ring_output.h"
#include "ring.h"
#include "ring_parts.h"

#define BUFFERS 6
#define HUGE_PAGE (2U << 20)
#define PATIENCE_NS 50000000 /* a call of the ring returns after that, however slow the disk is */

struct job {
    size_t len;
    uint64_t offset;
    struct ring_segment marks[2];
};

/* Buffers are used in turn: those from first on, count of them, are with the thread; the next one is the capture's. */
struct direct_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted; /* by the thread: a job, or the end */
    pthread_cond_t done;
    int is_closing;
    int fd;        /* with O_DIRECT */
    int cached_fd; /* the caller's */
    int refuses_direct;
    int error;
    uint64_t good;
    struct ring_segment marks[2];
    unsigned first;
    unsigned count;
    struct job jobs[BUFFERS];
    uint8_t *buffers[BUFFERS];
    _Atomic uint64_t *visible;
};

/* Some file systems let a file be opened, and refuse the first write. */
static int put(struct direct_writer *writer, const uint8_t *data, const struct job *job, size_t *done)
{
    *done = 0;
    int error = EINVAL;
    if (!writer->refuses_direct)
        error = output_pwrite(writer->fd, data, job->len, job->offset, done);
    if (error != EINVAL)
        return error;
    size_t begun = *done;
    writer->refuses_direct = 1;
    error = output_pwrite(writer->cached_fd, data + begun, job->len - begun, job->offset + begun, done);
    *done += begun;
    return error;
}

static void *run(void *argument)
{
    struct direct_writer *writer = argument;
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (writer->count == 0 && !writer->is_closing)
            pthread_cond_wait(&writer->wanted, &writer->lock);
        if (writer->count == 0)
            break;
        struct job *job = &writer->jobs[writer->first];
        size_t done = 0;
        int error = writer->error;
        pthread_mutex_unlock(&writer->lock);
        if (error == 0)
            error = put(writer, writer->buffers[writer->first], job, &done);
        pthread_mutex_lock(&writer->lock);
        if (error != 0 && writer->error == 0) {
            writer->error = error;
            writer->good = job->offset + done;
            memcpy(writer->marks, job->marks, sizeof writer->marks);
        } else if (error == 0) {
            atomic_store_explicit(writer->visible, job->offset + job->len, memory_order_release);
        }
        writer->first = (writer->first + 1) % BUFFERS;
        writer->count--;
        pthread_cond_signal(&writer->done);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* Signals are for the threads of Python. */
static int start(struct direct_writer *writer)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&writer->thread, NULL, run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static void free_writer(struct direct_writer *writer)
{
    for (int i = 0; i < BUFFERS; i++)
        free(writer->buffers[i]);
    free(writer);
}

int direct_open(size_t buffer_bytes, _Atomic uint64_t *visible, struct direct_writer **out)
{
    struct direct_writer *writer = calloc(1, sizeof *writer);
    pthread_condattr_t clock;
    if (writer == NULL)
        return ENOMEM;
    writer->fd = -1;
    writer->visible = visible;
    size_t bytes = (buffer_bytes + RECORD_MAX + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
    for (int i = 0; i < BUFFERS; i++) {
        if ((writer->buffers[i] = aligned_alloc(HUGE_PAGE, bytes)) == NULL) {
            free_writer(writer);
            return ENOMEM;
        }
        /* Where there are huge pages, a write pins one of them instead of hundreds. They are taken when they are used: an
         * idle recorder needs none, and its first buffer, which may hold no more than a file's header for long, a page. */
        if (i > 0)
            (void)madvise(writer->buffers[i], bytes, MADV_HUGEPAGE);
    }
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->wanted, NULL);
    pthread_cond_init(&writer->done, &clock);
    pthread_condattr_destroy(&clock);
    int error = start(writer);
    if (error != 0) {
        free_writer(writer);
        return error;
    }
    *out = writer;
    return 0;
}

void direct_close(struct direct_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    writer->is_closing = 1;
    pthread_cond_signal(&writer->wanted);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    direct_end(writer);
    pthread_mutex_destroy(&writer->lock);
    pthread_cond_destroy(&writer->wanted);
    pthread_cond_destroy(&writer->done);
    free_writer(writer);
}

int direct_begin(struct direct_writer *writer, int fd, uint8_t **buffer)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    /* A description of its own: the flag must not change that of the tail. */
    writer->fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (writer->fd < 0)
        return errno;
    writer->cached_fd = fd;
    writer->refuses_direct = 0;
    writer->error = 0;
    *buffer = writer->buffers[writer->first];
    return 0;
}

static void patience(struct timespec *until)
{
    clock_gettime(CLOCK_MONOTONIC, until);
    until->tv_nsec += PATIENCE_NS;
    until->tv_sec += until->tv_nsec / 1000000000;
    until->tv_nsec %= 1000000000;
}

int direct_submit(struct direct_writer *writer, size_t len, uint64_t offset, const struct ring_segment marks[2],
                  uint8_t **next)
{
    struct timespec until;
    int error = 0;
    pthread_mutex_lock(&writer->lock);
    if (writer->count == BUFFERS - 1) {
        patience(&until);
        while (error == 0 && writer->count == BUFFERS - 1)
            error = pthread_cond_timedwait(&writer->done, &writer->lock, &until) == 0 ? 0 : EAGAIN;
    }
    if (writer->error != 0) {
        error = writer->error;
    } else if (error == 0) {
        struct job *job = &writer->jobs[(writer->first + writer->count) % BUFFERS];
        job->len = len;
        job->offset = offset;
        memcpy(job->marks, marks, sizeof job->marks);
        writer->count++;
        *next = writer->buffers[(writer->first + writer->count) % BUFFERS];
        pthread_cond_signal(&writer->wanted);
    }
    pthread_mutex_unlock(&writer->lock);
    return error;
}

int direct_wait(struct direct_writer *writer, uint64_t *good, struct ring_segment marks[2])
{
    pthread_mutex_lock(&writer->lock);
    while (writer->count > 0)
        pthread_cond_wait(&writer->done, &writer->lock);
    int error = writer->error;
    if (error != 0) {
        *good = writer->good;
        memcpy(marks, writer->marks, sizeof writer->marks);
    }
    pthread_mutex_unlock(&writer->lock);
    return error;
}

int direct_error(struct direct_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    int error = writer->error;
    pthread_mutex_unlock(&writer->lock);
    return error;
}

void direct_end(struct direct_writer *writer)
{
    if (writer->fd >= 0)
        close(writer->fd);
    writer->fd = -1;
}
