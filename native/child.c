#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same number on every architecture */
#endif
#define MAX_DESCRIPTORS 16
#define MAX_CLOSED 65536 /* where the kernel (before 5.9) cannot close a range for us */

/* What parent and child share: until the program is loaded the child runs in our memory, on a stack frame of ours. */
struct order {
    const char *path, *directory;
    char *const *argv, *const *environment;
    const int *descriptors;
    size_t descriptor_count;
    const struct child_limit *limits;
    size_t limit_count;
    pid_t parent;
    volatile int error, step;
};

static int set_limits(const struct order *order)
{
    for (size_t i = 0; i < order->limit_count; i++) {
        const struct child_limit *limit = &order->limits[i];
        struct rlimit now;
        if (getrlimit((__rlimit_resource_t)limit->resource, &now) != 0)
            return -1;
        rlim_t hard = limit->hard < now.rlim_max ? limit->hard : now.rlim_max;
        now = (struct rlimit){.rlim_cur = limit->soft < hard ? limit->soft : hard, .rlim_max = hard};
        if (setrlimit((__rlimit_resource_t)limit->resource, &now) != 0)
            return -1;
    }
    return 0;
}

/* Without new privileges root gets nothing back when it executes a program: capabilities(7), "Capabilities and execution of
 * programs by root", and the kernel's cap_bprm_creds_from_file(). */
static int drop_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL); /* goes with the others anyway */
    if (syscall(SYS_capset, &header, none) != 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL);
}

static void close_from(unsigned first)
{
    if (syscall(SYS_close_range, first, ~0U, 0U) == 0)
        return;
    struct rlimit limit;
    unsigned end = MAX_CLOSED;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end)
        end = (unsigned)limit.rlim_cur;
    for (unsigned fd = first; fd < end; fd++)
        close((int)fd);
}

static int place_descriptors(const struct order *order)
{
    int aside[MAX_DESCRIPTORS];
    int count = (int)order->descriptor_count;
    for (int i = 0; i < count; i++)
        if ((aside[i] = fcntl(order->descriptors[i], F_DUPFD, count)) < 0)
            return -1;
    for (int i = 0; i < count; i++)
        if (dup2(aside[i], i) < 0)
            return -1;
    close_from((unsigned)count);
    return 0;
}

static void reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number <= SIGRTMAX; number++)
        sigaction(number, &standard, NULL); /* fails for SIGKILL, SIGSTOP and those of libc */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void give_up(struct order *order, int step)
{
    order->error = errno;
    order->step = step;
    _exit(127);
}

_Noreturn static void become(struct order *order)
{
    setsid();
    prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL);
    if (getppid() != order->parent)
        _exit(127); /* it has ended before we asked to be told */
    if (set_limits(order) != 0)
        give_up(order, CHILD_LIMITS);
    if (drop_privileges() != 0)
        give_up(order, CHILD_PRIVILEGES);
    if (place_descriptors(order) != 0)
        give_up(order, CHILD_DESCRIPTORS);
    if (order->directory != NULL && chdir(order->directory) != 0)
        give_up(order, CHILD_DIRECTORY);
    reset_signals();
    execve(order->path, order->argv, order->environment);
    give_up(order, CHILD_EXEC);
}

int child_spawn(const char *path, char *const *argv, char *const *environment, const char *directory,
                const int *descriptors, size_t descriptor_count, const struct child_limit *limits, size_t limit_count,
                int *pid, int *step)
{
    if (descriptor_count > MAX_DESCRIPTORS)
        return EINVAL;
    struct order order = {
        .path = path,
        .directory = directory,
        .argv = argv,
        .environment = environment,
        .descriptors = descriptors,
        .descriptor_count = descriptor_count,
        .limits = limits,
        .limit_count = limit_count,
        .parent = getpid(),
        .step = CHILD_FORK,
    };
    /* A handler must not run in the child: it would run in our memory. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = vfork();
    if (child == 0)
        become(&order);
    if (child < 0)
        order.error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0 && order.error != 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    *pid = child;
    *step = order.step;
    return order.error;
}
