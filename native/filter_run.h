/* A compiled capture filter, run over packets of files by the system's libpcap. Internal to the C module, not for
 * Python.
 */
#ifndef FILTER_RUN_H
#define FILTER_RUN_H

#include <stddef.h>
#include <stdint.h>

struct filter_run {
    void *library;
    unsigned (*filter)(const void *code, const uint8_t *data, unsigned wire_len, unsigned caplen);
    void *code;
};

/* Copy a program of filter_compile(). 0, EINVAL if it is none, ELIBACC without libpcap, ENOMEM. A zeroed run is empty
 * and may be closed. */
int filter_run_open(struct filter_run *run, const uint8_t *program, size_t bytes);
void filter_run_close(struct filter_run *run);

static inline int filter_run_wants(const struct filter_run *run, const uint8_t *data, uint32_t wire_len, uint32_t caplen)
{
    return run->code == NULL || run->filter(run->code, data, wire_len, caplen) != 0;
}

#endif
