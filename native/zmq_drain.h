/* Moves what a ZeroMQ socket holds into an intake without a Python object for each message.
 *
 * The socket belongs to pyzmq. Its libzmq is found among the objects that the process has loaded, so that both sides
 * use the same copy; linking another one would mean another, incompatible socket structure.
 */

struct zd_api;

/* Find libzmq in this process and look up what is needed. Returns 0, ENOENT if no loaded object offers the
 * functions, ENOTSUP if its major version is not 4, or ENOMEM. Free with zd_close(). */
int zd_open(struct zd_api **out);
void zd_close(struct zd_api *api);

/* Receive without waiting until the socket is empty, the intake is full, or max_messages have come. Counts messages
 * into *received. Returns EAGAIN if the socket is empty (only then may the caller wait on its descriptor: it is
 * edge-triggered), 0 if it stopped for another reason, or the errno of the failure (ETERM, ENOTSOCK, ...).
 * socket is the void * of libzmq; it must not be used by another thread meanwhile. Does not block. */
int zd_drain(struct zd_api *api, void *socket, struct lw_intake *intake, size_t max_messages, size_t *received);
