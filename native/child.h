/* Programs started as children that have nothing of us but what they are given. */

struct child_limit {
    int resource; /* RLIMIT_... */
    uint64_t soft, hard;
};

/* What could not be done, in the order in which it is tried. */
enum child_step { CHILD_FORK, CHILD_LIMITS, CHILD_PRIVILEGES, CHILD_DESCRIPTORS, CHILD_DIRECTORY, CHILD_EXEC };

/* Execute path. The child leads a session and process group of its own, is killed when the calling thread ends, has no
 * capabilities and never gets any, default actions for all signals, and no descriptors but the given ones (at most 16), which
 * become 0, 1, 2, ... A limit above the present hard one becomes that. directory: to work in; NULL: ours.
 *
 * Returns 0 and *pid, to be reaped by the caller, or an errno value and *step. Blocks until the program is loaded, for
 * well under a millisecond. Our memory is not copied (vfork), however large it is. */
int child_spawn(const char *path, char *const *argv, char *const *environment, const char *directory,
                const int *descriptors, size_t descriptor_count, const struct child_limit *limits, size_t limit_count,
                int *pid, int *step);
