#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "filter_run.h"

/* From pcap.h, whose ABI has stood since libpcap 1.0. */
#define ERRBUF_BYTES 256
#define DLT_RAW 12
#define NETMASK_UNKNOWN UINT32_C(0xffffffff)
#define ERROR_PERM_DENIED (-8)
#define ERROR_PROMISC_PERM_DENIED (-11)
#define LINKTYPE_RAW 101 /* in files; the others that we write have one number for both */
#define BUFFER_BYTES 65536 /* of a handle that receives nothing; the default is 2 MiB */

struct bpf_program {
    unsigned len;
    struct sock_filter *code; /* struct bpf_insn has the same layout */
};

struct pcap;

struct libpcap {
    void *library;
    struct pcap *(*open_dead)(int linktype, int snaplen);
    struct pcap *(*create)(const char *interface, char *error);
    int (*set_snaplen)(struct pcap *, int snaplen);
    int (*set_buffer_size)(struct pcap *, int bytes);
    int (*activate)(struct pcap *);
    int (*compile)(struct pcap *, struct bpf_program *, const char *text, int optimize, uint32_t netmask);
    void (*freecode)(struct bpf_program *);
    char *(*geterr)(struct pcap *);
    const char *(*statustostr)(int status);
    void (*close)(struct pcap *);
    unsigned (*filter)(const void *code, const uint8_t *data, unsigned wire_len, unsigned caplen);
    int (*validate)(const void *code, int instructions);
};

/* Debian's name, and everybody else's. */
static const char *const library_names[] = {"libpcap.so.0.8", "libpcap.so.1"};

static int look_up(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* To be unloaded again: with what it brings, which is a bus and its cryptography, it takes a megabyte. */
static int load(struct libpcap *api)
{
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof library_names / sizeof library_names[0]; i++)
        library = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return ELIBACC;
    int is_whole = look_up(library, "pcap_open_dead", &api->open_dead) && look_up(library, "pcap_create", &api->create) &&
                   look_up(library, "pcap_set_snaplen", &api->set_snaplen) &&
                   look_up(library, "pcap_set_buffer_size", &api->set_buffer_size) &&
                   look_up(library, "pcap_activate", &api->activate) && look_up(library, "pcap_compile", &api->compile) &&
                   look_up(library, "pcap_freecode", &api->freecode) && look_up(library, "pcap_geterr", &api->geterr) &&
                   look_up(library, "pcap_statustostr", &api->statustostr) &&
                   look_up(library, "pcap_close", &api->close) && look_up(library, "bpf_filter", &api->filter) &&
                   look_up(library, "bpf_validate", &api->validate);
    if (!is_whole) {
        dlclose(library);
        return ELIBACC;
    }
    api->library = library;
    return 0;
}

static int open_interface(const struct libpcap *api, const char *interface, int snaplen, struct pcap **out,
                          char *message, size_t message_bytes)
{
    char error[ERRBUF_BYTES] = "";
    struct pcap *handle = api->create(interface, error);
    if (handle == NULL) {
        snprintf(message, message_bytes, "%s", error);
        return ENODEV;
    }
    api->set_snaplen(handle, snaplen);
    api->set_buffer_size(handle, BUFFER_BYTES);
    int status = api->activate(handle);
    if (status < 0) {
        const char *detail = api->geterr(handle);
        snprintf(message, message_bytes, "%s", detail[0] != '\0' ? detail : api->statustostr(status));
        api->close(handle);
        return status == ERROR_PERM_DENIED || status == ERROR_PROMISC_PERM_DENIED ? EPERM : ENODEV;
    }
    *out = handle;
    return 0;
}

static int compile(const struct libpcap *api, struct pcap *handle, const char *text, uint8_t **program, size_t *bytes,
                   char *message, size_t message_bytes)
{
    struct bpf_program code = {0};
    if (api->compile(handle, &code, text, 1, NETMASK_UNKNOWN) < 0) {
        snprintf(message, message_bytes, "%s", api->geterr(handle));
        return EINVAL;
    }
    *bytes = code.len * sizeof *code.code;
    *program = malloc(*bytes);
    if (*program != NULL)
        memcpy(*program, code.code, *bytes);
    api->freecode(&code);
    return *program != NULL ? 0 : ENOMEM;
}

int filter_compile(const char *text, int linktype, int snaplen, const char *interface, uint8_t **program,
                   size_t *bytes, char *message, size_t message_bytes)
{
    struct libpcap api;
    struct pcap *handle = NULL;
    int error = load(&api);
    message[0] = '\0';
    *program = NULL;
    if (error != 0)
        return error;
    if (interface[0] == '\0')
        handle = api.open_dead(linktype == LINKTYPE_RAW ? DLT_RAW : linktype, snaplen);
    else
        error = open_interface(&api, interface, snaplen, &handle, message, message_bytes);
    if (error == 0 && handle == NULL)
        error = ENOMEM;
    if (error == 0)
        error = compile(&api, handle, text, program, bytes, message, message_bytes);
    if (handle != NULL)
        api.close(handle);
    dlclose(api.library);
    return error;
}

void filter_free(uint8_t *program)
{
    free(program);
}

int filter_run_open(struct filter_run *run, const uint8_t *program, size_t bytes)
{
    struct libpcap api;
    int error = load(&api);
    if (error != 0)
        return error;
    size_t n = bytes / sizeof(struct sock_filter);
    void *code = NULL;
    if (n == 0 || n > BPF_MAXINSNS || bytes % sizeof(struct sock_filter) != 0)
        error = EINVAL;
    else if ((code = malloc(bytes)) == NULL)
        error = ENOMEM;
    else if (!api.validate(memcpy(code, program, bytes), (int)n))
        error = EINVAL;
    if (error != 0) {
        free(code);
        dlclose(api.library);
        return error;
    }
    run->library = api.library;
    run->filter = api.filter;
    run->code = code;
    return 0;
}

void filter_run_close(struct filter_run *run)
{
    if (run->code == NULL)
        return;
    free(run->code);
    dlclose(run->library);
    run->code = NULL;
}
